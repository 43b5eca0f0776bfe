"""Shards: files of consecutive training examples."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from attribution.errors import ProjectError


def read_shard(file: Path, name: str) -> Tensor:
    """One tensor of a shard, memory-mapped by safetensors.

    Raises:
        ProjectError: the file is damaged.
    """
    from safetensors import safe_open

    try:
        with safe_open(str(file), framework="pt") as stored:
            tensor: Tensor = stored.get_tensor(name)
            return tensor
    except Exception as error:  # safetensors has its own classes for each kind of damage
        raise ProjectError(
            f"'{file}' is damaged ({error}): delete it and run tracefix prepare, which makes it again."
        ) from error


def shard_rows(examples: int, size: int) -> list[range]:
    """The rows of each shard."""
    return [range(start, min(start + size, examples)) for start in range(0, examples, size)]


def gradient_numbers(dtype: str) -> torch.dtype:
    """The number type that an index of this kind stores."""
    return torch.float32 if dtype == "float32" else torch.float16
