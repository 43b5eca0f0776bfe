"""Blocks of tensors, some of them absent, on a device or in a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from attribution.projects.files import replacing

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Block = TypeVar("Block", bound="DataclassInstance")
"""A dataclass whose fields are tensors or None."""


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as a safetensors file, atomically.

    Raises:
        ProjectError: the folder cannot be written.
    """
    from safetensors.torch import save_file

    with replacing(file) as temporary:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, str(temporary))


def write_blocks(file: Path, blocks: Mapping[str, Block]) -> None:
    """Write blocks by name; `read_blocks` reads them.

    Raises:
        ProjectError: the folder cannot be written.
    """
    parts = {
        f"{name}|{part}": value for name, block in blocks.items() for part, value in _parts(block).items()
    }
    write_tensors(file, {name: value for name, value in parts.items() if value is not None})


def read_blocks(file: Path, kind: type[Block]) -> dict[str, Block]:
    """What `write_blocks` wrote of this kind; what is not in the file is None."""
    from safetensors.torch import load_file

    tensors = load_file(str(file))
    names = dict.fromkeys(key.rpartition("|")[0] for key in tensors)
    parts = [field.name for field in fields(kind)]
    return {name: kind(**{part: tensors.get(f"{name}|{part}") for part in parts}) for name in names}


def blocks_to(blocks: Mapping[str, Block], device: torch.device | str) -> dict[str, Block]:
    """The same on another device."""
    return {
        name: replace(
            block, **{part: None if t is None else t.to(device) for part, t in _parts(block).items()}
        )
        for name, block in blocks.items()
    }


def _parts(block: DataclassInstance) -> dict[str, Tensor | None]:
    return {field.name: getattr(block, field.name) for field in fields(block)}
