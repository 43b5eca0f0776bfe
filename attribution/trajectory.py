"""The points of a training run at which gradients are taken: its checkpoints and the final model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from attribution.batches import evaluation_copy, load_weights
from attribution.errors import ProjectError
from attribution.first_position import first_position
from attribution.layout import use_fast_layout
from attribution.task import Checkpoint, Task

FOLLOWED = 12
"""Checkpoints that methods which add up the run look at: all, or of longer runs as many at even distances."""

SEGMENTS = 3
"""Parts of the run in each of which SOURCE takes curvature and gradients as constant (Bae et al. 2024: L = 3)."""

TRACED = 3
"""Checkpoints that methods which average over the run look at, more of them early."""


@dataclass(frozen=True)
class Point:
    """One point of the run; ``number`` counts from 0 in order of time.

    ``checkpoint`` is None for a final model that is not among the checkpoints; its learning rate is then 0, so
    that methods which follow the run give it no weight.
    """

    number: int
    step: int
    learning_rate: float
    final: bool
    checkpoint: Checkpoint | None


@dataclass(frozen=True)
class MeanCheckpoint(Checkpoint):
    """The mean of the parameters of several checkpoints; names absent from some have there the ``final`` value."""

    members: tuple[Checkpoint, ...] = ()
    final: Mapping[str, Tensor] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """The mean of what is a floating-point number; of counters the last."""
        total = dict(self.members[-1].tensors())
        for before, checkpoint in enumerate(self.members[-2::-1], start=1):  # one at a time in memory
            found = checkpoint.tensors()
            for name in {**total, **found}:
                known = total[name] if name in total else self._final(name) * before
                if known.is_floating_point():
                    total[name] = known + (found[name] if name in found else self._final(name)).to(known)
        count = len(self.members)
        return {name: t / count if t.is_floating_point() else t for name, t in total.items()}

    def _final(self, name: str) -> Tensor:
        if name not in self.final:
            raise ProjectError(
                f"A checkpoint up to step {self.step} has a parameter '{name}' that the model lacks: give weights of "
                "the same architecture."
            )
        return self.final[name]

    def corrected_moments(self, decay: float) -> dict[str, Tensor] | None:
        """The mean of the members' second moments, each corrected by its own step."""
        return mean_moments(self.members, decay)


def mean_moments(checkpoints: Sequence[Checkpoint], decay: float) -> dict[str, Tensor] | None:
    """The mean of the checkpoints' corrected second moments; None where one of them has none."""
    total: dict[str, Tensor] = {}
    for checkpoint in checkpoints:  # one at a time in memory
        moments = checkpoint.corrected_moments(decay)
        if moments is None:
            return None
        total = {name: total[name] + m if total else m for name, m in moments.items()}
    return {name: moment / len(checkpoints) for name, moment in total.items()} or None


def grouped(points: list[Point], count: int) -> list[list[Point]]:
    """Consecutive points in ``count`` groups of nearly equal size; fewer where there are fewer points."""
    count = min(count, len(points))
    bounds = [round(number * len(points) / count) for number in range(count + 1)] if count else []
    return [points[start:end] for start, end in pairwise(bounds)]


def evenly_spaced(points: list[Point], count: int) -> list[Point]:
    """At most ``count`` of the points, the first and the last among them, at even distances in between."""
    if len(points) <= count:
        return list(points)
    return [points[round(number * (len(points) - 1) / (count - 1))] for number in range(count)]


def geometrically_spaced(points: list[Point], count: int) -> list[Point]:
    """At most ``count`` of the points, the first and the last among them, their steps growing by about one factor.

    Training moves fastest at first. Measured on digits and Fashion-MNIST, the first, second and last of six even
    checkpoints explain better than any other three of them, and as well as four or all six for half the work.
    """
    if len(points) <= count:
        return list(points)
    first, last = max(points[0].step, 1), max(points[-1].step, 1)
    targets = [first * (last / first) ** (number / (count - 1)) for number in range(1, count - 1)]
    between = {
        min(range(1, len(points) - 1), key=lambda i: abs(points[i].step - target)) for target in targets
    }
    return [points[number] for number in sorted({0, *between, len(points) - 1})]


class Trajectory:
    """The points of a task's training run, and one model that is moved between them.

    Args:
        task: the task; it is told what its model need not compute (`attribution.first_position`).
        device: where the model lives.
    """

    def __init__(self, task: Task, device: torch.device | str = "cpu") -> None:
        self._model = evaluation_copy(task, device)
        use_fast_layout(task, self._model)
        if task.first_position is None:  # the layers are the same at every point of the run
            task.first_position = first_position(task, self._model)
        self._final = {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}
        self._at: int | None = None
        checkpoints = list(task.checkpoints)
        ends_final = bool(checkpoints) and self._equals_final(checkpoints[-1])
        self.points = [
            Point(number, c.step, float(c.learning_rate), ends_final and number == len(checkpoints) - 1, c)
            for number, c in enumerate(checkpoints)
        ]
        if not ends_final:
            last_step = task.steps or (checkpoints[-1].step if checkpoints else 0)
            self.points.append(Point(len(checkpoints), last_step, 0.0, True, None))
        self.checkpoint_points = [point for point in self.points if point.checkpoint is not None]
        self.followed = evenly_spaced(self.checkpoint_points, FOLLOWED)
        self.traced = geometrically_spaced(self.checkpoint_points, TRACED)
        self.segment_means = self._means(grouped(self.followed, SEGMENTS))

    @property
    def final(self) -> Point:
        return next(point for point in self.points if point.final)

    def point(self, number: int) -> Point:
        """A point by number: one of the run, or the mean of a segment."""
        return next(point for point in (*self.points, *self.segment_means) if point.number == number)

    def facts(self) -> dict[str, Any]:
        """Numbers of its special points and what they have, by the names of `attribution.methods.ProjectFacts`."""
        return {
            "final": self.final.number,
            "followed": tuple(point.number for point in self.followed),
            "traced": tuple(point.number for point in self.traced),
            "segment_means": tuple(point.number for point in self.segment_means),
            "second_moments": all(
                point.checkpoint is not None and point.checkpoint.second_moments is not None
                for point in self.followed
            ),
        }

    def model_at(self, point: Point) -> nn.Module:
        """The model with the parameters of a point, in evaluation mode. Valid until the next call."""
        if self._at != point.number:
            self._model.load_state_dict(self._final)
            if point.checkpoint is not None and not point.final:
                load_weights(self._model, point.checkpoint, f"checkpoint of step {point.step}")
            self._at = point.number
        return self._model

    def _means(self, groups: list[list[Point]]) -> list[Point]:
        """For each group a point of its own with the mean parameters; of a single point that point itself."""
        means = []
        for number, group in enumerate(groups, start=len(self.points)):
            members = tuple(p.checkpoint for p in group if p.checkpoint is not None)
            last = members[-1]
            mean = MeanCheckpoint(
                last.state_dict, last.learning_rate, last.step, members=members, final=self._final
            )
            means.append(
                group[0]
                if len(group) == 1
                else Point(number, last.step, float(last.learning_rate), False, mean)
            )
        return means

    def _equals_final(self, checkpoint: Checkpoint) -> bool:
        tensors = checkpoint.tensors()
        return all(
            name in self._final and torch.equal(tensor.to(self._final[name]), self._final[name])
            for name, tensor in tensors.items()
        )
