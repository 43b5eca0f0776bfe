"""SOURCE: approximate unrolled differentiation (Bae et al. 2024) with EK-FAC curvature.

Training is cut into L segments. Segment l has learning rates that sum to η_l K_l (over 1 - β with momentum), and over
its checkpoints the mean curvature H_l and the mean gradient g_l,i of example i:

    S_l = exp(-η_l K_l H_l)
    r_l,i = (1/N) (I - S_l) H_l⁻¹ g_l,i
    score_i = -∇f(θ_final)ᵀ Σ_l S_L ⋯ S_{l+1} r_l,i

Everything that stands between ∇f and g_l,i is symmetric, so the query walks backwards over the segments once and
meets every example with an inner product. The factor 1/N, the same for all, is left out as in all scores here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attribution import Task
from attribution.batches import batches
from attribution.capture import GradientCapture, PerExampleGradients
from attribution.curvature import EKFAC
from attribution.curvature.ekfac import _Block, _loss_at_sampled_labels, _Moments, _rotated
from attribution.trajectory import Point, Trajectory

from .gradients import query_gradient, train_products
from .queries import Queries
from .spectral import Spectrum, applied


@dataclass(frozen=True)
class Segment:
    """Consecutive checkpoints, and ηK of the steps that lead to the last of them."""

    points: list[Point]
    length: float


def segments_of(task: Task, points: list[Point], count: int) -> list[Segment]:
    """Cut a run into ``count`` segments of equally many checkpoints."""
    groups = [list(part) for part in np.array_split(np.array(points, dtype=object), count)]
    lengths, start = [], 0
    for group in groups:
        lengths.append(length_between(task, start, group[-1].step))
        start = group[-1].step
    return [Segment(group, length) for group, length in zip(groups, lengths, strict=True)]


def length_between(task: Task, start: int, end: int) -> float:
    """Sum of the learning rates of steps ``start`` to ``end``, divided by 1 - momentum.

    The learning rate is taken as linear between the points at which the training record gives it.
    """
    known = {c.step: float(c.learning_rate) for c in task.checkpoints}
    if task.learning_rate is not None:
        known.setdefault(0, task.learning_rate)
    steps = sorted(known)
    middles = np.arange(start, end) + 0.5
    return float(np.interp(middles, steps, [known[step] for step in steps]).sum()) / (1 - task.momentum)


def source_scores(
    task: Task, trajectory: Trajectory, queries: Queries, *, segments: int, batch_size: int
) -> Tensor:
    """Scores (N, Q)."""
    parts = segments_of(task, trajectory.checkpoint_points, segments)
    remaining = query_gradient(task, trajectory, trajectory.final, queries)
    total: Tensor | None = None
    for part in reversed(parts):
        curvature = fit_segment(task, trajectory, part.points, batch_size=batch_size)
        query = applied(curvature, remaining, integrated_decay(part.length))
        for point in part.points:
            products = train_products(task, trajectory, point, query, batch_size) / len(part.points)
            total = products if total is None else total + products
        remaining = applied(curvature, remaining, decay(part.length))
    assert total is not None
    return -total


def decay(length: float) -> Spectrum:
    """exp(-ηKσ): what is left of a change of the parameters after a segment."""
    return lambda eigenvalues: torch.exp(-length * eigenvalues)


def integrated_decay(length: float) -> Spectrum:
    """(1 - exp(-ηKσ)) / σ, which tends to ηK for σ → 0."""

    def function(eigenvalues: Tensor) -> Tensor:
        exponents = length * eigenvalues.double()
        ratio = -torch.expm1(-exponents) / exponents
        return (length * torch.where(exponents > 0, ratio, 1.0)).to(eigenvalues)

    return function


def fit_segment(
    task: Task, trajectory: Trajectory, points: list[Point], *, batch_size: int, seed: int = 0
) -> EKFAC:
    """EK-FAC of a segment: factors averaged over its checkpoints, and in their basis the mean eigenvalues."""
    noise = torch.rand(task.size("train"), generator=torch.Generator().manual_seed(seed))
    loss = _loss_at_sampled_labels(task.loss)

    def passes() -> Iterator[PerExampleGradients]:
        for point in points:
            capture = GradientCapture(task, trajectory.model_at(point))
            for batch in batches(task, "train", batch_size):
                yield capture.gradients(batch.inputs, noise[batch.positions], loss)

    moments: dict[str, _Moments] = {}
    for gradients in passes():
        for name, gradient in gradients.blocks.items():
            moments.setdefault(name, _Moments()).add(gradient)
    blocks = {name: _Block(*moment.bases(), torch.zeros(())) for name, moment in moments.items()}
    for gradients in passes():
        for name, gradient in gradients.blocks.items():
            squares = _rotated(blocks[name], gradient).square().sum(dim=0)
            blocks[name].eigenvalues = blocks[name].eigenvalues + squares
    for block in blocks.values():
        block.eigenvalues = block.eigenvalues / (len(points) * task.size("train"))
    return EKFAC(blocks)
