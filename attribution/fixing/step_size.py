"""Choosing the learning rate of a fix, and whether to replay, without asking anybody."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution.batches import Batch
from attribution.errors import NumericalError
from attribution.fixing.descent import Descent, Target, descend, mean_loss
from attribution.progress import Reporter
from attribution.task import Task

PLANNED_STEPS = 2.0
"""The first-order step size is such that this many steps would close the margin."""

FACTORS = (0.5, 1.0, 2.0)
"""Multiples of the first-order step size that the line search tries."""

REPLAY_FACTORS = (1.0, 2.0)
"""The same with replay, which pulls back and so needs no small steps."""

LARGEST_MOVE = 0.05
"""One step may move the parameters by at most this share of their norm."""


@dataclass(frozen=True)
class Scale:
    """First-order facts at the start: margin z_predicted - z_true, its slope along the descent direction, and norms."""

    margin: float
    slope: float
    gradient_norm: float
    parameter_norm: float

    def learning_rate(self) -> float:
        """The step size that closes the margin in `PLANNED_STEPS` steps to first order, within `LARGEST_MOVE`."""
        largest = LARGEST_MOVE * self.parameter_norm / max(self.gradient_norm, 1e-30)
        if self.slope <= 0:  # the examples do not help to first order: take the largest safe step
            return largest
        return min(self.margin / (PLANNED_STEPS * self.slope), largest)


def first_order_scale(task: Task, model: nn.Module, examples: Batch, target: Target) -> Scale:
    """Gradient of the examples' loss and of the target's margin, reduced to what the step size needs."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    logits = task.logits(model, target.batch.inputs)[0]
    margin = logits[target.predicted] - logits[target.true]
    of_margin = torch.autograd.grad(margin, parameters, allow_unused=True)
    of_loss = torch.autograd.grad(mean_loss(task, model, examples, task.loss), parameters, allow_unused=True)
    pairs = [(m, g) for m, g in zip(of_margin, of_loss, strict=True) if m is not None and g is not None]
    return Scale(
        margin=float(margin.detach()),
        slope=float(sum((m * g).sum() for m, g in pairs)),
        gradient_norm=_norm([g for _, g in pairs]),
        parameter_norm=_norm([p.detach() for p in parameters]),
    )


def _norm(tensors: list[Tensor]) -> float:
    return float(torch.stack([tensor.square().sum() for tensor in tensors]).sum().sqrt())


@dataclass(frozen=True)
class Recipe:
    """What the line search settled on: a learning rate, and whether random training examples are replayed."""

    learning_rate: float
    replay: Batch | None


def line_search(
    task: Task,
    model: nn.Module,
    examples: Batch,
    target: Target,
    replay: Batch,
    held_out: Batch,
    *,
    max_steps: int,
    reporter: Reporter,
) -> tuple[Recipe, Descent]:
    """The recipe that fixes the target with the least harm, and its descent.

    Each of `FACTORS` times the first-order step size is tried, and of `REPLAY_FACTORS` with replay; harm is the
    mean loss afterwards on ``held_out`` (another random slice of the training data). Runs that do not fix the
    target come last, by the probability they reached; runs that diverge are left out.

    Raises:
        NumericalError: every run diverged.
    """
    base = first_order_scale(task, model, examples, target).learning_rate()
    recipes = [Recipe(base * factor, None) for factor in FACTORS]
    recipes += [Recipe(base * factor, replay) for factor in REPLAY_FACTORS]
    best: tuple[tuple[float, float], Recipe, Descent] | None = None
    for number, recipe in enumerate(recipes):
        try:
            run = descend(
                task,
                model,
                examples,
                target,
                learning_rate=recipe.learning_rate,
                max_steps=max_steps,
                replay=recipe.replay,
                reporter=reporter.share(number / len(recipes), (number + 1) / len(recipes)),
                message="Choosing the step size",
            )
        except NumericalError:
            continue  # too large a step; a smaller one may do
        with torch.no_grad():
            harm = float(mean_loss(task, run.model, held_out, task.loss))
        reached = float(run.probabilities[-1, target.true])
        rank = (0.0, harm) if run.fixed else (1.0, -reached)
        if math.isfinite(harm) and (best is None or rank < best[0]):
            best = (rank, recipe, run)
    if best is None:
        raise NumericalError(
            "Fine-tuning diverged at every step size: choose other training examples; nothing was changed."
        )
    return best[1], best[2]
