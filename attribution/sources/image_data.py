"""Pictures of a transformers project: read, run through the image processor, and kept for people to look at."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from attribution.display import PNG_MODES
from attribution.errors import ProjectError
from attribution.sources.python_function import describe


class ImageDataset(Dataset[Any]):
    """Processed images: items ``({"pixel_values": (C, H, W)}, label)``."""

    def __init__(self, pixel_values: Tensor, labels: list[int]) -> None:
        self._pixel_values = pixel_values
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[dict[str, Tensor], int]:
        return {"pixel_values": self._pixel_values[position]}, self.labels[position]


def pictures_of(values: pd.Series, file: Path) -> list[tuple[Image.Image, Image.Image | bytes]]:
    """Pictures for the model and for people: the latter as they are encoded, where a browser can show that."""
    images: list[tuple[Image.Image, Image.Image | bytes]] = []
    for row, value in enumerate(values):
        content = value["bytes"] if isinstance(value, dict) else value  # datasets' Parquet keeps a struct
        try:
            picture = Image.open(
                io.BytesIO(content) if isinstance(content, bytes) else file.parent / str(content)
            )
            picture.load()
        except Exception as error:
            raise ProjectError(
                f"'{file}' row {row + 1} holds no readable image ({describe(error)}): mend or drop that row."
            ) from error
        encoded = isinstance(content, bytes) and picture.format == "PNG" and picture.mode in PNG_MODES
        images.append((picture, content if encoded else picture))
    return images


def pixel_values(images: list[Image.Image], folder: Path, chunk: int = 512) -> Tensor:
    """Run the folder's image processor (its PIL version: torchvision is not needed)."""
    from transformers import AutoImageProcessor

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
        parts = [
            processor(images=images[start : start + chunk], return_tensors="pt")["pixel_values"]
            for start in range(0, len(images), chunk)
        ]
    except Exception as error:
        raise ProjectError(
            f"The images cannot be processed as '{folder}' says ({describe(error)}): save the image processor beside "
            "the model with processor.save_pretrained(folder)."
        ) from error
    return torch.cat(parts)
