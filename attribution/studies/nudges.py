"""Training on with one example weighted a little more, and a little less: what it really does, step by step."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attribution.batches import Batch, batch_of
from attribution.errors import NumericalError
from attribution.fixing.optimization import Optimization, trained
from attribution.progress import Reporter
from attribution.retraining import batch_order
from attribution.studies.halves import outputs_of
from attribution.task import Task

LARGEST, SMALLEST = 0.01, 1e-4
"""Bounds of ε: far above what Schioppa et al. 2023 take, and so small that rounding would show."""


def nudge_for(examples: int) -> float:
    """ε: so much of an example's loss is added to the mean loss of every batch, and taken off.

    It is the example's own weight in the mean over N examples, so that it counts twice in one run and not at all in the
    other. Were more taken off, training would go up on its loss, without bound.
    """
    return min(max(1 / examples, SMALLEST), LARGEST)


@dataclass(frozen=True)
class Continuation:
    """How training goes on from a trained model, which is left as it is.

    Args:
        task, model: the model as training left it; it stays in evaluation mode, so that nothing is drawn at random.
        optimization: of the record.
        learning_rate: the same at every step.
        nudge: ε, see `nudge_for`.
        batch_size, seed: of the batches, which are the same for every example.
    """

    task: Task
    model: nn.Module
    optimization: Optimization
    learning_rate: float
    nudge: float
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Effect:
    """What up-weighting one example by ε rather than down-weighting it does, after some numbers of steps.

    Args:
        logits: of the queries, with less and with more of the example, (2, T, Q, C).
        distance: between the two models' parameters, (T,).
    """

    logits: NDArray[np.float32]
    distance: NDArray[np.float64]


def effect_of(
    going_on: Continuation,
    position: int,
    queries: Sequence[int],
    at_steps: Sequence[int],
    *,
    device: torch.device | str,
    reporter: Reporter,
    message: str,
) -> Effect:
    """The central difference (Schioppa et al. 2023): two models trained on with the same batches in the same order.

    Args:
        position: of the training example.
        queries: positions of the test examples to look at.
        at_steps: numbers of steps after which to look, ascending.

    Raises:
        NumericalError: training diverged.
        Cancelled: the user asked for a stop.
    """
    task = going_on.task
    models = [copy.deepcopy(going_on.model).eval() for _ in range(2)]
    optimizers = [going_on.optimization.start(model, going_on.learning_rate) for model in models]
    example = batch_of(task, "train", [position]).to(device)
    order = batch_order(task, np.arange(task.size("train")), going_on.batch_size, going_on.seed)
    logits = np.empty((2, len(at_steps), len(queries), len(task.class_names)), dtype=np.float32)
    distance = np.empty(len(at_steps))
    for step in range(1, at_steps[-1] + 1):
        batch = batch_of(task, "train", next(order).tolist()).to(device)
        for model, optimizer, sign in zip(models, optimizers, (-1, 1), strict=True):
            _step(task, model, optimizer, batch, example, sign * going_on.nudge)
        if step in at_steps:
            place = list(at_steps).index(step)
            logits[:, place] = [outputs_of(task, model, queries, device).numpy() for model in models]
            distance[place] = _distance(*models)
            reporter(step / at_steps[-1], message)
    return Effect(logits, distance)


def _step(
    task: Task,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    example: Batch,
    weight: float,
) -> None:
    with torch.enable_grad():
        loss = task.loss(task.logits(model, batch.inputs), batch.labels).mean()
        nudged = loss + weight * task.loss(task.logits(model, example.inputs), example.labels).sum()
    if not bool(torch.isfinite(nudged)):
        raise NumericalError(
            "Training on diverged: check the learning rates of the training record; nothing was changed."
        )
    optimizer.zero_grad(set_to_none=True)
    nudged.backward()
    optimizer.step()


def _distance(first: nn.Module, second: nn.Module) -> float:
    mine, theirs = trained(first), trained(second)
    squares: list[Tensor] = [(mine[name] - theirs[name]).detach().double().square().sum() for name in mine]
    return float(torch.stack(squares).sum().sqrt())
