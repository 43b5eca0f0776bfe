"""Where a score comes from: which layers, and which tokens of a training text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.batches import batch_of
from attribution.capture import BlockGradient, EmbeddingGradient, FactoredGradient, GradientCapture
from attribution.methods import Direction
from attribution.query import Query


@dataclass(frozen=True)
class Breakdown:
    """Parts of one training example's score.

    Args:
        score: the whole.
        by_layer: part of each layer's parameters; they add up to the score.
        by_token: part of each token (T,), summed over the layers that see tokens apart; None for other inputs. What
            layers without tokens (a classification head, norms) contribute is missing from it.
        by_word: the same of each word of the text, as (start, end, part) with its place in characters; None where it
            is not known where the tokens stand.
    """

    score: float
    by_layer: dict[str, float]
    by_token: list[float] | None
    by_word: list[tuple[int, int, float]] | None = None


def break_down(query: Query, directions: Sequence[Direction], position: int) -> Breakdown:
    """The parts of the score of the training example at ``position``, for the first measurement of the query."""
    loaded = query.loaded
    batch = batch_of(loaded.task, "train", [position]).to(loaded.device)
    length = _tokens(batch.inputs)
    by_layer: dict[str, float] = {}
    by_token = torch.zeros(length or 0, dtype=torch.float64)
    for direction in directions:
        capture = GradientCapture(loaded.task, loaded.trajectory.model_at(direction.point))
        gradients = capture.gradients(batch.inputs, batch.labels, loaded.task.loss)
        factor = direction.factor if isinstance(direction.factor, float) else float(direction.factor[0, 0])
        for name, block in gradients.blocks.items():
            vector = direction.vectors[name][:1]
            part = factor * float(block.dot(vector)[0, 0])
            by_layer[name] = by_layer.get(name, 0.0) + part
            places = _by_position(block, vector[0])
            if length is not None and places is not None and len(places) == length:
                by_token += factor * places.double().cpu()
    tokens = by_token.tolist() if length is not None else None
    return Breakdown(sum(by_layer.values()), by_layer, tokens)


def _tokens(inputs: Tensor | Mapping[str, Tensor]) -> int | None:
    if isinstance(inputs, Mapping) and "input_ids" in inputs:
        return int(inputs["input_ids"].shape[1])
    return None


def _by_position(block: BlockGradient, vector: Tensor) -> Tensor | None:
    """The inner product of one example's gradient with a vector, by position (T,)."""
    if isinstance(block, FactoredGradient):
        return torch.einsum("to,oi,ti->t", block.left[0], vector, block.right[0])
    if isinstance(block, EmbeddingGradient):
        return (vector[block.ids[0]] * block.right[0]).sum(dim=1)
    return None
