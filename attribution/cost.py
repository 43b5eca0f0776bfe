"""What preparing will cost, from one timed batch: said before minutes are spent."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from attribution.batches import batch_of
from attribution.capture import GradientCapture
from attribution.index import IndexPlan
from attribution.task import Task
from attribution.trajectory import Trajectory

_PASSES = 2.0
"""Times the sampled batch's time per example that a training example costs at a point, coordinates included."""

_FITTING_PASSES = 4.0
"""The same for an example that curvature is fitted on: gradients, moments, squares."""


@dataclass(frozen=True)
class Cost:
    """An estimate: seconds on this machine, and bytes on disk."""

    seconds: float
    size: int

    @property
    def words(self) -> str:
        """For people."""
        if self.seconds < 90:
            duration = f"{max(round(self.seconds), 1)} s"
        elif self.seconds < 5400:
            duration = f"{round(self.seconds / 60)} min"
        else:
            duration = f"{self.seconds / 3600:.1f} h"
        return f"about {duration} and {self.size / 2**20:,.0f} MB"


def estimate(
    task: Task,
    trajectory: Trajectory,
    plan: IndexPlan,
    *,
    points: int,
    fitted_on: int,
    batch_size: int,
    examples: int | None = None,
) -> Cost:
    """Cost of building an index of ``points`` points, curvature included.

    Args:
        examples: number of training examples where the task holds only some of them.
    """
    count = min(task.size("train"), batch_size)
    # Spread over the data, which may be sorted by length.
    batch = batch_of(task, "train", torch.linspace(0, task.size("train") - 1, count).long().tolist())
    capture = GradientCapture(task, trajectory.model_at(trajectory.final))
    moved = batch.to(next(capture.model.parameters()).device)
    seconds = []
    for _ in range(2):  # the first pass warms up
        started = time.perf_counter()
        capture.gradients(moved.inputs, moved.labels, task.loss).norm_squared().sum().item()
        seconds.append((time.perf_counter() - started) / count)
    examples = task.size("train") if examples is None else examples
    work = points * (examples * _PASSES + min(examples, fitted_on) * _FITTING_PASSES)
    return Cost(work * min(seconds), plan.size(examples, points))
