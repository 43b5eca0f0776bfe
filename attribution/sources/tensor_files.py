"""Looking into safetensors files without loading them whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open

from attribution.errors import ProjectError


def names(file: Path) -> list[str]:
    """Names of the tensors in a file.

    Raises:
        ProjectError: not a safetensors file.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            return list(opened.keys())
    except Exception as error:  # safetensors raises a class of its own
        raise ProjectError(f"'{file}' is not a readable safetensors file: save it again.") from error


def differing(one: Path, other: Path) -> Iterator[str]:
    """Names of the tensors that are in one file only, or not the same in both; one after another, as they are read.

    Raises:
        ProjectError: one is not a safetensors file.
    """
    here, there = names(one), names(other)
    yield from sorted(set(here) ^ set(there))
    with safe_open(one, framework="pt") as first, safe_open(other, framework="pt") as second:
        for name in sorted(set(here) & set(there)):
            if not torch.equal(first.get_tensor(name), second.get_tensor(name)):
                yield name
