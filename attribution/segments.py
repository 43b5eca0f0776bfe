"""Segments: parts of a training run within which curvature and gradients count as constant (Bae et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from attribution.curvature import CurvatureStore
from attribution.curvature.damping import rate_sum, span_length
from attribution.dynamics import Adam, Dynamics, GradientDescent
from attribution.errors import MissingRequirementError
from attribution.progress import Reporter
from attribution.task import Task
from attribution.trajectory import Point, grouped

ADAM = ("adam", "adamw")
"""Optimizers whose steps are preconditioned by second moments."""


@dataclass(frozen=True)
class Segment:
    """Consecutive checkpoints, and ηK of the steps that lead to the last of them."""

    points: list[Point]
    length: float

    def dynamics(self, task: Task, store: CurvatureStore, reporter: Reporter) -> Dynamics:
        """What the segment does to a change of the parameters.

        Raises:
            ProjectError: stored curvature is damaged, or second moments do not fit the model.
        """
        curvature = store.over(self.points, reporter)
        if task.optimizer not in ADAM:
            return GradientDescent(curvature, self.length, task.weight_decay)
        return Adam(
            curvature,
            store.preconditioner(self.points),
            self.length,
            task.weight_decay,
            decoupled=task.optimizer == "adamw",
        )


def segments_of(task: Task, points: list[Point], count: int) -> list[Segment]:
    """Cut a run into ``count`` segments of nearly equally many checkpoints, the last one reaching to its end.

    Raises:
        MissingRequirementError: the training record does not say the learning rates or the optimizer.
    """
    groups = grouped(points, count)
    ends = [group[-1].step for group in groups]
    ends[-1] = max(task.steps or 0, ends[-1])
    segments = []
    for group, start, end in zip(groups, [0, *ends[:-1]], ends, strict=True):
        length = rate_sum(task, start, end) if task.optimizer in ADAM else span_length(task, start, end)
        if length is None:
            raise MissingRequirementError(
                "The training record does not say how far training went: give the optimizer, learning rates, and "
                "momentum below 1."
            )
        segments.append(Segment(group, length))
    return segments
