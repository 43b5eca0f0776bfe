"""Gradients of the queries and of the training examples at a point of the run."""

from __future__ import annotations

import torch
from torch import Tensor

from attribution import Task
from attribution.batches import batch_of, batches
from attribution.capture import GradientCapture
from attribution.trajectory import Point, Trajectory

from .queries import Queries


def query_gradient(task: Task, trajectory: Trajectory, point: Point, queries: Queries) -> dict[str, Tensor]:
    """Gradients of the measurement, (Q, *shape) by block."""
    capture = GradientCapture(task, trajectory.model_at(point))
    batch = batch_of(task, "test", queries.positions)
    return capture.gradients(batch.inputs, batch.labels, queries.value).dense()


def train_products(
    task: Task, trajectory: Trajectory, point: Point, vectors: dict[str, Tensor], batch_size: int
) -> Tensor:
    """Inner products (N, Q) of every training gradient with Q vectors."""
    capture = GradientCapture(task, trajectory.model_at(point))
    parts = [
        capture.gradients(batch.inputs, batch.labels, task.loss).dot(vectors)
        for batch in batches(task, "train", batch_size)
    ]
    return torch.cat(parts)
