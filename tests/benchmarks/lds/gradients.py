"""Sums of training gradients over the subsets of the truth.

A prediction of a method that is linear in the training gradients is an inner product with such a sum: hundreds of
queries, dampings and choices of checkpoints then share one pass over the training examples.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from attribution import Task
from attribution.batches import batches
from attribution.capture import GradientCapture
from attribution.trajectory import Point, Trajectory


def subset_sums(
    task: Task, trajectory: Trajectory, point: Point, member: Tensor, batch_size: int
) -> dict[str, Tensor]:
    """Σ_{i in S} g_i at a point by block (subsets, *shape), for the subsets ``member`` (subsets, N)."""
    capture = GradientCapture(task, trajectory.model_at(point))
    sums: dict[str, Tensor] = {}
    for batch in batches(task, "train", batch_size):
        weights = member[:, batch.positions].T.float()
        blocks = capture.gradients(batch.inputs, batch.labels, task.loss).blocks
        for name, block in blocks.items():
            part = block.combine(weights)
            sums[name] = sums[name] + part if name in sums else part
    return sums


def products(sums: Mapping[str, Tensor], vectors: Mapping[str, Tensor]) -> Tensor:
    """Inner products (subsets, Q) of sums with Q vectors by block (Q, *shape), in float64."""
    parts = [sums[name].flatten(1) @ vectors[name].flatten(1).T for name in sums]
    return torch.stack(parts).double().sum(dim=0)
