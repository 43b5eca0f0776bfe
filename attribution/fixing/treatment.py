"""From edits to what fine-tuning does: which examples are trained on, unlearned or left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from attribution.batches import Batch, batch_of, unpadded
from attribution.errors import NotFoundError, UsageError
from attribution.fixing.descent import Target
from attribution.fixing.objective import Drawn, Objective, Unlearned
from attribution.projects import Edit, Project
from attribution.task import Task

REPLAYED = 32
"""Random training examples whose loss may be added to that of the chosen ones, to hold the rest in place."""

HELD_OUT = 256
"""Other random training examples, on which the line search measures harm."""


@dataclass(frozen=True)
class Treatment:
    """What is done with the training examples at ``positions``: one action, and one label to train with, for each."""

    strategy: str
    positions: list[int]
    actions: list[str]
    labels: list[int]

    @classmethod
    def of(cls, project: Project, strategy: str, edits: Sequence[Edit]) -> Treatment:
        """Raises NotFoundError or UsageError where the edits cannot be carried out."""
        names = project.class_names
        current = project.predictions("train")["label"].to_numpy()
        positions, labels = [], []
        for edit in edits:
            position = project.position("train", edit.train_id)
            if edit.action == "relabel" and edit.label not in names:
                raise NotFoundError(
                    f"There is no class '{edit.label}' to relabel '{edit.train_id}' to: the classes are "
                    f"{', '.join(names[:20])}."
                )
            positions.append(position)
            labels.append(
                names.index(edit.label) if edit.action == "relabel" and edit.label else int(current[position])
            )
        if not positions and strategy != "test":
            raise UsageError(
                "There is no training example to train on: choose some, or let Tracefix suggest them."
            )
        if len(set(positions)) != len(positions):
            raise UsageError("A training example is chosen twice: choose each one once.")
        if len(positions) == len(current) and "remove" in {edit.action for edit in edits}:
            raise UsageError("Every training example is chosen, so none is left to train on: choose fewer.")
        return cls(strategy, positions, [edit.action for edit in edits], labels)

    def of_others(self, positions: list[int], own_labels: NDArray[np.int64]) -> Treatment:
        """The same done with other examples; relabelling gives them the labels of those they stand in for."""
        actions = self.actions or ["upweight"] * len(positions)
        labels = self.labels or [0] * len(positions)
        kept = [int(own_labels[p]) for p in positions]
        new = [
            label if action == "relabel" else own
            for action, label, own in zip(actions, labels, kept, strict=True)
        ]
        return replace(
            self, strategy="helpers" if self.strategy == "test" else self.strategy, positions=positions,
            actions=actions, labels=new,
        )  # fmt: skip

    def objective(
        self,
        task: Task,
        model: nn.Module,
        target: Target,
        others: Sequence[int],
        *,
        max_steps: int,
        device: torch.device,
    ) -> Objective:
        """What the steps minimise.

        Args:
            others: training examples that may be replayed, in random order.

        Raises:
            Unlearnable: there is nothing to unlearn.
        """
        if self.strategy == "test":
            batch = Batch(target.batch.positions, target.batch.inputs, target.true.to(device))
            return Objective([batch], rest=self._replay(task, others, device))
        out = [p for p, action in zip(self.positions, self.actions, strict=True) if action == "remove"]
        kept = [
            (p, label)
            for p, action, label in zip(self.positions, self.actions, self.labels, strict=True)
            if action != "remove"
        ]
        trained = _labelled(task, kept, device) if kept else []
        if not out:
            return Objective(trained, rest=self._replay(task, others, device))
        if self.strategy == "unlearn":
            unlearned = Unlearned.of(task, model, batch_of(task, "train", out).to(device))
            return Objective(trained, unlearned, self._replay(task, others, device), needs_rest=True)
        excluded = set(self.positions)
        rest = [p for p in others if p not in excluded][: max_steps * task.batch_size]
        return Objective(trained, rest=Drawn(task, rest, task.batch_size, device), needs_rest=True)

    def _replay(self, task: Task, others: Sequence[int], device: torch.device) -> list[list[Batch]]:
        positions = list(others[:REPLAYED])
        return [unpadded(task, "train", positions, device)] if positions else []


@dataclass(frozen=True)
class Slices:
    """Random training examples in random order: to replay and, apart from those, to watch for harm.

    ``unwatched`` are those to replay with the taken examples among them, in the order of the draw.
    """

    replayed: list[int]
    watched: list[int]
    unwatched: list[int]

    def others(self, strategy: str) -> list[int]:
        """What an objective of this strategy may replay: of `remove` all that it does not itself leave out, so that a
        control that leaves out others trains on the chosen ones."""
        return self.unwatched if strategy == "remove" else self.replayed

    @classmethod
    def drawn(cls, size: int, taken: Sequence[int], seed: int) -> Slices:
        """From ``size`` examples without the ``taken`` ones; of few examples half are replayed, the others watched."""
        excluded = set(taken)
        order = np.random.default_rng([seed, 1]).permutation(size)
        others = [int(p) for p in order if int(p) not in excluded] or list(taken)
        watched = others[max(len(others) - HELD_OUT, len(others) // 2, 1) :] or others
        hidden = set(watched) if len(watched) < len(others) else set()
        return cls(
            others[: len(others) - len(watched)] or others,
            watched,
            [int(p) for p in order if int(p) not in hidden],
        )


def _labelled(task: Task, chosen: Sequence[tuple[int, int]], device: torch.device) -> list[Batch]:
    """Training examples (position, label to train it with), of which one may occur more than once."""
    labels: dict[int, list[int]] = {}
    for position, label in reversed(chosen):
        labels.setdefault(position, []).append(label)
    return [
        replace(
            batch, labels=torch.tensor([labels[p].pop() for p in batch.positions.tolist()], device=device)
        )
        for batch in unpadded(task, "train", [position for position, _ in chosen], device)
    ]
