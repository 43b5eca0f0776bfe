"""What models retrained without any edits say of the test set: the same for every fix, so it is remembered."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from attribution.projects import Project
from attribution.projects.files import replacing
from attribution.projects.ledger import Ledger
from attribution.retraining import TrainingRecipe, initial_weights
from attribution.task import Task
from attribution.versions import library_versions

FOLDER = "retrained"
"""Within the prepared directory, which goes when model or data change."""

_FORMAT = 1
"""Goes up when retraining itself changes."""


def retrained_from(project: Project, device: torch.device | str) -> dict[str, Any]:
    """All that retrained models of a project depend on, beside their seed and what they are trained on."""
    record = project.preparation
    return {
        "retraining": _FORMAT,
        "recipe": record["recipe"],
        "sources": {name: found["sha256"] for name, found in record["sources"].items()},
        "versions": library_versions(),
        "device": str(device),
        "threads": torch.get_num_threads(),
    }


def digest_of_start(task: Task, recipe: TrainingRecipe, seed: int) -> str:
    """Tells runs apart that start elsewhere: initial weights may come from files that nobody else looks at."""
    found = 0
    if recipe.start is None:
        for name, tensor in sorted(initial_weights(task, seed).items()):
            content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
            found = zlib.crc32(content, zlib.crc32(name.encode(), found))
    return f"{found:08x}"


class Baselines:
    """Logits (n_test, C) by seed, on disk. Nothing is written before `remember` is called.

    Args:
        project: the prepared project.
        task: its task.
        recipe: how models are retrained.
        device: where; with the number of threads it decides the last digits, and paired differences go down to them.
    """

    def __init__(
        self, project: Project, task: Task, recipe: TrainingRecipe, device: torch.device | str
    ) -> None:
        self._task, self._recipe = task, recipe
        self._arguments = retrained_from(project, device)
        digest = hashlib.sha256(json.dumps(self._arguments, sort_keys=True).encode()).hexdigest()[:16]
        self._directory: Path = project.prepared_directory / FOLDER / digest
        self._ledger = Ledger.read(self._directory) if self._usable() else None

    def known(self, seed: int) -> NDArray[np.float32] | None:
        """The logits of a seed; None where they are not stored, or damaged."""
        name = self._name(seed)
        if self._ledger is None or name not in self._ledger.files:
            return None
        if name in self._ledger.drop_damaged():
            return None
        found: NDArray[np.float32] = np.load(self._directory / name, allow_pickle=False)
        return found

    def remember(self, found: dict[int, NDArray[np.float32]]) -> None:
        """Store the logits of some seeds.

        Raises:
            ProjectError: the folder cannot be written.
        """
        if not found:
            return
        ledger = Ledger.resumed(self._directory, self._arguments)
        for seed, logits in found.items():
            name = self._name(seed)
            with replacing(self._directory / name) as temporary, temporary.open("wb") as file:
                np.save(file, logits)
            ledger.add(name)
        self._ledger = ledger

    def _usable(self) -> bool:
        return Ledger.made_from(self._directory, self._arguments)

    def _name(self, seed: int) -> str:
        return f"seed-{seed}-{digest_of_start(self._task, self._recipe, seed)}.npy"
