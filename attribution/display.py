"""What a person sees of an example: its text or a small picture, stored as table columns."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from attribution.batches import labels_of
from attribution.errors import UsageError
from attribution.progress import Reporter
from attribution.task import Task

PNG_MODES = ("L", "RGB", "RGBA")
"""Kinds of pictures that are stored as they are; others become RGB."""

THUMBNAIL_SIDE = 128
"""Pixels of the longer side at most: the table of a large split stays small enough to be read whole."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def example_table(task: Task, split: str, reporter: Reporter) -> tuple[pd.DataFrame, str]:
    """The table of a split (index id; columns position, label, text or image, metadata) and its kind.

    Raises:
        UsageError: a display or metadata column has another length, or shows neither text nor an image.
    """
    size = task.size(split)
    shown = list(reporter.track(_shown(task, split), size, f"Reading {size:,} {split} examples"))
    kinds = {kind for kind, _ in shown}
    kind = kinds.pop() if len(kinds) == 1 else "other"
    columns: dict[str, Any] = {"position": np.arange(size), "label": labels_of(task, split).numpy()}
    columns["image" if kind == "image" else "text"] = [value for _, value in shown]
    metadata = task.train_metadata if split == "train" else task.test_metadata
    for name, values in metadata.items():
        if len(values) != size:
            raise UsageError(f"The {split} metadata '{name}' has {len(values)} values for {size} examples.")
        columns.setdefault(str(name), list(values))
    return pd.DataFrame(columns, index=pd.Index(task.ids(split), name="id")), kind


def _shown(task: Task, split: str) -> Iterator[tuple[str, Any]]:
    given = task.train_display if split == "train" else task.test_display
    dataset = cast(Any, task.dataset(split))
    if given is not None and len(given) != task.size(split):
        raise UsageError(
            f"There are {len(given)} {split} displays for {task.size(split)} examples: give one each."
        )
    for position in range(task.size(split)):
        if given is not None:
            yield _stored(given[position])
        elif task.display is not None:
            yield _stored(task.display(dataset[position][0]))
        else:
            yield _guessed(dataset[position][0])


def _stored(value: Any) -> tuple[str, Any]:
    if isinstance(value, str):
        return "text", value
    if isinstance(value, Image.Image):
        return "image", _png(value)
    if isinstance(value, bytes):
        return "image", _small_png(value)
    array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4)):
        return "image", _png(Image.fromarray(np.clip(array, 0, 255).astype(np.uint8)))
    raise UsageError(
        f"display returned an array of shape {array.shape}: return text, a PIL image, or an array (H, W) or (H, W, 3)."
    )


def _guessed(inputs: Any) -> tuple[str, Any]:
    """A picture where the input looks like one, else a few of its numbers."""
    tensor = next(iter(inputs.values())) if isinstance(inputs, dict) else torch.as_tensor(inputs)
    if tensor.dim() == 3 and tensor.shape[0] in (1, 3) and tensor.is_floating_point():
        low, high = float(tensor.min()), float(tensor.max())
        scaled = (tensor - low) / max(high - low, 1e-12) * 255
        return _stored(scaled.permute(1, 2, 0).numpy())
    first = ", ".join(f"{value:.3g}" for value in tensor.flatten()[:8].tolist())
    return "other", f"{tensor.numel()} numbers: {first}{', …' if tensor.numel() > 8 else ''}"


def _small_png(content: bytes) -> bytes:
    """A PNG file as it is, or made smaller."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            return content if max(image.size) <= THUMBNAIL_SIDE else _png(image)
    except Exception as error:  # Pillow has its own classes for each kind of damage
        raise UsageError(
            "A display of bytes is not a PNG file: give the content of one, or a PIL image."
        ) from error


def _png(image: Image.Image) -> bytes:
    shown = image if image.mode in PNG_MODES else image.convert("RGB")
    if max(shown.size) > THUMBNAIL_SIDE:
        shown = shown.copy()
        shown.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    shown.save(buffer, format="PNG")
    return buffer.getvalue()
