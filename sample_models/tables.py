"""Write the tables of a project: one Parquet file per split."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

_COMPRESSION_LEVEL = 19
"""Written once, kept in the repository and copied often: worth zstd's slow end."""


def write_table(file: Path, columns: Mapping[str, Sequence[str | bytes | float]]) -> None:
    """Write columns of text, bytes or numbers, one value per example, to a Parquet file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({name: list(values) for name, values in columns.items()})
    pyarrow.parquet.write_table(table, file, compression="zstd", compression_level=_COMPRESSION_LEVEL)


def png(pixels: np.ndarray) -> bytes:
    """A grey image (H, W) with values 0..255 as a PNG, without loss."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()
