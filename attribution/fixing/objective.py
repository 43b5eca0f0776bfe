"""What the steps of a fix minimise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from attribution.batches import Batch, unpadded
from attribution.errors import UsageError
from attribution.fixing.settings import UNLEARNING_CAP
from attribution.task import LossFunction, Task


class Unlearnable(UsageError):
    """The model believes no example enough for there to be anything to unlearn."""


@dataclass(frozen=True)
class Unlearned:
    """Examples to ascend on, and how far.

    Args:
        batch: B examples.
        cap: `UNLEARNING_CAP` times the loss of a uniform guess (all logits equal) for each, (B,).
        below: which of them have a smaller loss before the first step, (B,); the others are left alone.
    """

    batch: Batch
    cap: Tensor
    below: Tensor

    @classmethod
    def of(cls, task: Task, model: nn.Module, batch: Batch) -> Unlearned:
        """Raises `Unlearnable` where every example has the cap's loss already."""
        with torch.no_grad():
            logits = task.logits(model, batch.inputs)
            cap = UNLEARNING_CAP * task.loss(torch.zeros_like(logits), batch.labels)
            below = task.loss(logits, batch.labels) < cap
        if not bool(below.any()):
            raise Unlearnable(
                "The model does not believe the labels of these training examples anyway, so there is nothing to "
                "unlearn: remove or relabel them, or choose others."
            )
        return cls(batch, cap, below)

    def loss(self, task: Task, model: nn.Module) -> Tensor:
        """Minus the mean loss of the examples that are still below the cap, a scalar in the graph."""
        losses = task.loss(task.logits(model, self.batch.inputs), self.batch.labels)
        active = self.below & (losses.detach() < self.cap)
        return -(losses * active).sum() / self.below.sum()

    def room(self, task: Task, model: nn.Module) -> float:
        """By how much the mean loss lies below the mean cap; negative above it."""
        with torch.no_grad():
            losses = task.loss(task.logits(model, self.batch.inputs), self.batch.labels)
            return float(((self.cap - losses) * self.below).sum() / self.below.sum())


@dataclass(frozen=True)
class Objective:
    """The sum of up to three terms, each a mean over its examples.

    Args:
        trained: examples to descend on, with the labels to train them with; in one batch or in several.
        unlearned: examples to ascend on.
        rest: other training examples to descend on, some (in one batch or in several) a step in turn: they hold the
            rest in place.
        needs_rest: whether nothing is to be done without them.
    """

    trained: Sequence[Batch] = ()
    unlearned: Unlearned | None = None
    rest: Sequence[Sequence[Batch]] = ()
    needs_rest: bool = False

    @property
    def continued(self) -> bool:
        """Whether this is nothing but more training on the rest."""
        return not self.trained and self.unlearned is None

    @property
    def replayed(self) -> int:
        """Different examples in ``rest``."""
        if isinstance(self.rest, Drawn):
            return self.rest.examples
        return sum(len(batch) for batches in self.rest for batch in batches)

    def without_rest(self) -> Objective:
        """The same without replay."""
        return replace(self, rest=())

    def loss(self, task: Task, model: nn.Module, step: int) -> Tensor:
        """What step number ``step`` (from 0) descends on, a scalar in the graph."""
        terms = []
        if self.trained:
            terms.append(mean_loss(task, model, self.trained, task.loss))
        if self.unlearned is not None:
            terms.append(self.unlearned.loss(task, model))
        if self.rest:
            terms.append(mean_loss(task, model, self.rest[step % len(self.rest)], task.loss))
        return torch.stack(terms).sum()


class Drawn(Sequence[Sequence[Batch]]):
    """Some training examples for each step, read when they are asked for: a long run of pictures does not fit in
    memory."""

    def __init__(self, task: Task, positions: Sequence[int], size: int, device: torch.device) -> None:
        self._task = task
        self._groups = [positions[start : start + size] for start in range(0, len(positions), size)]
        self._device = device
        self.examples = len(positions)

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, number: int) -> list[Batch]:  # type: ignore[override]
        return unpadded(self._task, "train", self._groups[number], self._device)


def mean_loss(task: Task, model: nn.Module, examples: Sequence[Batch], loss: LossFunction) -> Tensor:
    """Mean loss of the examples of all batches, a scalar in the graph."""
    sums = [loss(task.logits(model, batch.inputs), batch.labels).sum() for batch in examples]
    return torch.stack(sums).sum() / sum(map(len, examples))
