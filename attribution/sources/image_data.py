"""The pictures of a transformers project: for the model through its image processor, for people as small pictures.

Nothing is decoded before it is asked for, and what is decoded is not kept, but for processed pixels as far as they fit
into `PIXELS_IN_MEMORY`: a folder of pictures may be larger than the memory.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from attribution.display import PNG_SIGNATURE, THUMBNAIL_SIDE
from attribution.errors import ProjectError
from attribution.progress import SILENT, Reporter
from attribution.sources.limits import PIXELS_IN_MEMORY
from attribution.sources.pictures import MODES, file_inside, read_picture
from attribution.sources.python_function import describe

_PNG_KINDS = {"L": b"\x08\x00", "RGB": b"\x08\x02"}
"""Bit depth and colour type in a PNG's header (its bytes 24 and 25) of the pictures that are decoded to these modes."""

_LONGEST_PNG = 2**16
"""Bytes; a small picture that takes more carries something else along."""


class Pictures:
    """The pictures of a split, read each time they are asked for.

    Args:
        values: what a table holds of each: an encoded picture, a path relative to ``folder``, or the struct of
            `datasets` with one of both.
        folder: where paths start, and which they must not leave.
        mode: one of `MODES`, as the model reads them.
        name: how a message calls a row, from its number (from 0).
    """

    def __init__(self, values: Sequence[Any], folder: Path, mode: str, name: Callable[[int], str]) -> None:
        self._values = values
        self._folder = folder.resolve()
        self._mode = mode
        self.name = name

    def __len__(self) -> int:
        return len(self._values)

    def encoded(self, row: int) -> bytes | Path:
        """The encoded picture, or its file.

        Raises:
            ProjectError: there is none, or the path is unusable.
        """
        value = self._values[row]
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes) and value:
            return value
        if isinstance(value, str) and value:
            return file_inside(self._folder, value, self.name(row))
        if value is None or value in ("", b"") or (isinstance(value, float) and math.isnan(value)):
            raise ProjectError(f"{self.name(row)} has no picture: give it one, or drop that row.")
        raise ProjectError(
            f"{self.name(row)} holds a value of type {type(value).__name__} where a picture should be: give "
            "the path of a file, or its content."
        )

    def __getitem__(self, row: int) -> Image.Image:
        """The decoded picture.

        Raises:
            ProjectError: there is none, or it cannot be read.
        """
        return read_picture(self.encoded(row), self._mode, self.name(row))


class Thumbnails(Sequence[Any]):
    """What people see of pictures, for `Task.train_display`: as encoded where that is a small PNG, else decoded."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    @overload
    def __getitem__(self, row: int) -> Any: ...
    @overload
    def __getitem__(self, row: slice) -> list[Any]: ...
    def __getitem__(self, row: int | slice) -> Any:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        picture, encoded = self._pictures[row], self._pictures.encoded(row)
        kept = isinstance(encoded, bytes) and _is_small_png(encoded, picture)
        return encoded if kept else picture


class ImageProcessor:
    """The image processor of a transformers folder (its PIL version: torchvision is not needed).

    Raises:
        ProjectError: the folder holds no readable one.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoImageProcessor

        self._folder = folder
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._processor = AutoImageProcessor.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False, backend="pil"
                )
        except Exception as error:
            raise ProjectError(
                f"The image processor in '{folder}' cannot be loaded ({describe(error)}): save it beside the model "
                "with processor.save_pretrained(folder)."
            ) from error

    def __call__(self, picture: Image.Image, name: str) -> Tensor:
        """The pixel values (C, H, W) of a picture.

        Raises:
            ProjectError: it does not go through.
        """
        try:
            values: Tensor = self._processor(images=picture, return_tensors="pt")["pixel_values"][0]
        except Exception as error:
            raise ProjectError(
                f"{name} does not go through the image processor in '{self._folder}' ({describe(error)}): make its "
                "preprocessor_config.json fit the pictures and the model."
            ) from error
        return values


class ImageDataset(Dataset[Any]):
    """Processed pictures: items ``({"pixel_values": (C, H, W)}, label)``, all of one shape.

    Args:
        pictures: for the model and its processor.
        labels: class number of each.
        processor: makes pixel values of them.
    """

    def __init__(
        self, pictures: Pictures, labels: Sequence[int] | np.ndarray, processor: ImageProcessor
    ) -> None:
        self.pictures = pictures
        self.labels = labels
        self._processor = processor
        self._shape: torch.Size | None = None
        self._kept: Tensor | None = None
        self._filled = bytearray(len(labels))

        self.digests: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[dict[str, Tensor], int]:
        label = int(self.labels[position])  # raises IndexError after the last one, which ends an iteration
        if self._kept is not None and self._filled[position]:
            return {"pixel_values": self._kept[position]}, label
        values = self._processed(position)
        if values.nbytes * len(self) <= PIXELS_IN_MEMORY:
            if self._kept is None:
                self._kept = values.new_empty((len(self), *values.shape))
            self._kept[position] = values
            self._filled[position] = True
        return {"pixel_values": values}, label

    def check(self, reporter: Reporter = SILENT) -> None:
        """Read every picture once, and note ``digests``: 64-bit digests (N,), uint64, equal for equal pixel values.

        Raises:
            ProjectError: one cannot be read or processed, naming it.
        """
        found = bytearray()
        for position in reporter.track(range(len(self)), len(self), f"Reading {len(self):,} pictures"):
            found += hashlib.blake2b(self._processed(position).numpy().tobytes(), digest_size=8).digest()
        self.digests = np.frombuffer(found, dtype=np.uint64)

    def _processed(self, position: int) -> Tensor:
        name = self.pictures.name(position)
        values = self._processor(self.pictures[position], name)
        if self._shape is None:
            self._shape = values.shape
        elif values.shape != self._shape:
            raise ProjectError(
                f"{name} has the size {_size(values.shape)} after processing, and others have {_size(self._shape)}: "
                "let the image processor resize or crop all to one size (do_resize in preprocessor_config.json)."
            )
        return values


def picture_mode(config: Any, folder: Path) -> str:
    """The kind of pictures that a transformers model reads, by its config; colours where it does not say.

    Raises:
        ProjectError: neither grey nor coloured ones.
    """
    channels = getattr(config, "num_channels", 3)
    if channels not in MODES:
        raise ProjectError(
            f"The model in '{folder}' reads pictures of {channels} channels: bring it with a task file (--task)."
        )
    return MODES[channels]


def _is_small_png(content: bytes, picture: Image.Image) -> bool:
    """Whether an encoded picture can be shown as it is: the decoded one is the same, and no larger than a thumbnail."""
    return (
        content.startswith(PNG_SIGNATURE)
        and content[24:26] == _PNG_KINDS.get(picture.mode)
        and max(picture.size) <= THUMBNAIL_SIDE
        and len(content) <= _LONGEST_PNG
    )


def _size(shape: torch.Size) -> str:
    return " × ".join(map(str, reversed(shape[-2:])))
