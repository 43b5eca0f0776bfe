"""Segments: parts of a training run in each of which curvature and gradients are taken as constant (Bae et al. 2024).

Over a segment of length ηK (the sum of its learning rates) gradient descent on a quadratic of curvature σ leaves
exp(-ηKσ) of a change of the parameters; a constant push g accumulates to (1 - exp(-ηKσ))/σ · g.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.curvature.damping import span_length
from attribution.curvature.ekfac import Spectrum
from attribution.errors import MissingRequirementError
from attribution.task import Task
from attribution.trajectory import Point, grouped


@dataclass(frozen=True)
class Segment:
    """Consecutive checkpoints, and ηK of the steps that lead to the last of them."""

    points: list[Point]
    length: float

    def decay(self, weight_decay: float) -> Spectrum:
        """exp(-ηK(σ + w)): what is left of a change of the parameters after the segment."""
        return lambda eigenvalues: torch.exp(-self.length * (eigenvalues + weight_decay))

    def accumulated(self, weight_decay: float) -> Spectrum:
        """(1 - exp(-ηK(σ + w)))/(σ + w), which tends to ηK for σ + w → 0."""

        def function(eigenvalues: Tensor) -> Tensor:
            exponents = self.length * (eigenvalues.double() + weight_decay)
            ratio = -torch.expm1(-exponents) / exponents
            return (self.length * torch.where(exponents > 0, ratio, 1.0)).to(eigenvalues)

        return function


def segments_of(task: Task, points: list[Point], count: int) -> list[Segment]:
    """Cut a run into ``count`` segments of nearly equally many checkpoints, the last one reaching to its end.

    Raises:
        MissingRequirementError: the training record does not say the learning rates, or the optimizer is not SGD.
    """
    groups = grouped(points, count)
    ends = [group[-1].step for group in groups]
    ends[-1] = max(task.steps or 0, ends[-1])
    segments = []
    for group, start, end in zip(groups, [0, *ends[:-1]], ends, strict=True):
        length = span_length(task, start, end)
        if length is None:
            raise MissingRequirementError(
                "The training record does not say how far SGD went: give learning rates and momentum below 1."
            )
        segments.append(Segment(group, length))
    return segments
