"""Scores of training examples as if they were labelled otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attribution.batches import Batch, batch_of
from attribution.capture import GradientCapture
from attribution.methods import Direction
from attribution.query import Query


def scores_as_labelled(
    query: Query, directions: Sequence[Direction], positions: Sequence[int], labels: Sequence[int]
) -> Tensor:
    """Scores (Q, n) in float64 that the examples at ``positions`` would have with the given ``labels``.

    The directions do not depend on the example: with its own label, an example has the score that the method gives it.
    Gradients are computed afresh, whatever an index leaves out.
    """
    loaded, task = query.loaded, query.task
    scores = torch.zeros(len(query.targets), len(positions), dtype=torch.float64)
    for direction in directions:
        capture = GradientCapture(task, loaded.trajectory.model_at(direction.point))
        factor = direction.factor.cpu().double() if isinstance(direction.factor, Tensor) else direction.factor
        for start in range(0, len(positions), loaded.batch_size):
            part = slice(start, start + loaded.batch_size)
            batch = batch_of(task, "train", positions[part])
            asked = Batch(batch.positions, batch.inputs, torch.tensor(list(labels[part]))).to(loaded.device)
            gradients = capture.gradients(asked.inputs, asked.labels, task.loss)
            scores[:, part] += factor * gradients.dot(direction.vectors).T.cpu().double()
    return scores
