"""Reading the gradient index: a description and, for each point of the run, memory-mapped arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attribution.errors import ProjectError
from attribution.index.projection import BlockProjection, Projection

FORMAT = 1
DESCRIPTION = "index.json"
ARRAYS = ("gradients", "norms", "logits", "representations")


def array_file(directory: Path, number: int, name: str) -> Path:
    """Where an array of a point lies."""
    return directory / f"point-{number}.{name}.npy"


class GradientIndex:
    """An index that was built for a project (see `attribution.index.build`).

    ``gradients`` holds unit-length rows, ``norms`` the exact gradient norms, ``representations`` what the last
    layer reads, each for the N training examples in dataset order.
    """

    def __init__(self, directory: Path, device: torch.device | str = "cpu") -> None:
        self.directory = directory
        try:
            self.description: dict[str, Any] = json.loads(
                (directory / DESCRIPTION).read_text(encoding="utf-8")
            )
            if self.description["format"] != FORMAT:
                raise ValueError(f"format {self.description['format']}")
            blocks = [
                BlockProjection(b["name"], tuple(b["shape"]), b["left"], b["right"])
                for b in self.description["blocks"]
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ProjectError(
                f"The gradient index in '{directory}' is damaged ({error}): run tracefix prepare to make it again."
            ) from error
        self.projection = Projection(blocks, self.description["seed"], device)
        self._device = device
        self._arrays: dict[tuple[int, str], NDArray[Any]] = {}

    @property
    def exact(self) -> bool:
        """Whether inner products with the stored gradients are exact (nothing was compressed)."""
        return self.projection.exact

    def array(self, number: int, name: str) -> NDArray[Any]:
        """A memory-mapped array of a point."""
        key = (number, name)
        if key not in self._arrays:
            file = array_file(self.directory, number, name)
            try:
                self._arrays[key] = np.load(file, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise ProjectError(
                    f"'{file}' is missing or damaged: run tracefix prepare to make the index again."
                ) from error
        return self._arrays[key]

    def dots(self, number: int, query: Tensor, chunk: int = 4096) -> Tensor:
        """Inner products (N,) of the training gradients with a compressed query gradient (width,)."""
        stored = self.array(number, "gradients")
        parts = []
        for start in range(0, len(stored), chunk):
            rows = torch.from_numpy(np.array(stored[start : start + chunk], dtype=np.float32)).to(
                self._device
            )
            parts.append(rows @ query)
        return torch.cat(parts).cpu() * self.norms(number)

    def norms(self, number: int) -> Tensor:
        """Norms (N,) of the training gradients."""
        return torch.from_numpy(np.array(self.array(number, "norms")))

    def representations(self, number: int) -> Tensor:
        """Representations (N, D) of the training examples."""
        return torch.from_numpy(np.array(self.array(number, "representations")))
