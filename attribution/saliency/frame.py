"""Which part of a picture the model reads: image processors shrink, squeeze, cut off edges, or pad."""

from __future__ import annotations

import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.projects import Project, TransformersSource

Frame = tuple[float, float, float, float]
"""Top, left, bottom and right of what the model reads, in shares of the picture; beyond 0 and 1 for padding."""

WHOLE: Frame = (0.0, 0.0, 1.0, 1.0)

_DARKEST, _BRIGHTEST = 0.02, 0.98
"""Shares of a ramp between which a pixel tells its place: at its ends it may come from padding."""

_SAME = 0.01
"""Share of a picture by which a frame may miss its edges: brightness has 256 steps."""


class PictureFrames:
    """Asks a transformers folder's image processor by showing it pictures whose brightness tells the place.

    Args:
        folder: of the model.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[int, int, int], Frame] = {}

    @classmethod
    def of(cls, project: Project) -> PictureFrames | None:
        """Those of a project of pictures; None where its inputs come from elsewhere."""
        source = project.manifest.source
        if isinstance(source, TransformersSource) and source.image_column:
            return cls(project.resolve(source.model))
        return None

    def frame(self, height: int, width: int, channels: int) -> Frame:
        """What is read of pictures of this size."""
        key = (height, width, channels)
        if key not in self._known:
            across = np.broadcast_to(np.linspace(0, 255, width), (height, width))
            down = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, width))
            dark, bright = np.zeros((height, width)), np.full((height, width), 255.0)
            low, high, x, y = (self._processed(one, channels) for one in (dark, bright, across, down))
            read = high > low  # padding is as dark as it is bright
            rows, columns = read.any(axis=1), read.any(axis=0)
            span = np.where(read, high - low, 1.0)
            left, right = _ends(((x - low) / span)[rows].mean(axis=0), width)
            top, bottom = _ends(((y - low) / span)[:, columns].mean(axis=1), height)
            found = (top, left, bottom, right)
            same = all(abs(mine - whole) <= _SAME for mine, whole in zip(found, WHOLE, strict=True))
            self._known[key] = WHOLE if same else found
        return self._known[key]

    def _processed(self, brightness: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
        """What the model gets of a grey picture, (H, W): the mean of its channels."""
        from PIL import Image

        picture = Image.fromarray(brightness.round().astype(np.uint8))
        if channels == 3:
            picture = picture.convert("RGB")
        values = self._processor(images=[picture], return_tensors="np")["pixel_values"][0]
        result: NDArray[np.float64] = np.asarray(values, dtype=np.float64).mean(axis=0)
        return result

    @cached_property
    def _processor(self) -> Any:
        from transformers import AutoImageProcessor

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return AutoImageProcessor.from_pretrained(
                self._folder, local_files_only=True, trust_remote_code=False, backend="pil"
            )


def _ends(places: NDArray[np.float64], pixels: int) -> tuple[float, float]:
    """The outer edges of the first and last cell, in shares of the picture.

    Args:
        places: share of the ramp that each cell of the model's input shows.
        pixels: of the picture, whose first and last have the ends of the ramp at their centres.
    """
    inside = np.flatnonzero((places > _DARKEST) & (places < _BRIGHTEST))
    if len(inside) < 2:  # a picture too small for its place to be told
        return 0.0, 1.0
    slope, start = np.polyfit(inside, places[inside], 1)
    edges = start + slope * np.array([-0.5, len(places) - 0.5])
    first, last = ((edges * (pixels - 1) + 0.5) / pixels).tolist()
    return first, last
