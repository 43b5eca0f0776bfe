"""Choosing the learning rate of a fix, and whether to replay, without asking anybody."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from attribution.batches import Batch
from attribution.errors import NumericalError
from attribution.fixing.descent import Descent, Target, descend, moves
from attribution.fixing.guard import Guard
from attribution.fixing.objective import Objective, mean_loss
from attribution.fixing.optimization import Optimization, trained
from attribution.progress import Reporter
from attribution.task import Task

PLANNED_STEPS = 2.0
"""The first-order step size is such that this many steps would close the margin."""

FACTORS = (1.0, 2.0)
"""Multiples of the first-order step size that the line search tries, with and without replay.

Smaller ones take more steps and time and do no less harm: with 0.5 too, digits with 20 % wrong labels need 5 steps
instead of 3 for 3.6 broken predictions each instead of 3.6.
"""

HELD_FACTORS = (0.5, 1.0, 2.0)
"""The same for what is never done without replay."""

CONTINUED_FACTORS = (0.1, 0.3, 1.0)
"""Multiples of the highest learning rate of the training record, for training on without some examples."""

PATIENCE = 4
"""Times as many steps as a run that worked that the runs after it may take, but at least `LEAST_STEPS`."""

LEAST_STEPS = 10

LARGEST_MOVE = 0.05
"""One step may move the parameters by at most this share of their norm."""


@dataclass(frozen=True)
class Scale:
    """First-order facts at the start: margin z_predicted - z_true, its slope along the descent direction, and norms.

    Of several targets margin and slope are means.
    """

    margin: float
    slope: float
    direction_norm: float
    parameter_norm: float

    def learning_rate(self) -> float:
        """The step size that closes the margin in `PLANNED_STEPS` steps to first order, within `LARGEST_MOVE`."""
        largest = LARGEST_MOVE * self.parameter_norm / max(self.direction_norm, 1e-30)
        if self.slope <= 0:  # the examples do not help to first order: take the largest safe step
            return largest
        return min(self.margin / (PLANNED_STEPS * self.slope), largest)


@dataclass(frozen=True)
class Start:
    """The model that fixes start from and what they descend on; the first step is worked out once for all recipes."""

    task: Task
    model: nn.Module
    objective: Objective
    optimization: Optimization
    _first: dict[bool, Mapping[str, Tensor]] = field(default_factory=dict)

    def first(self, *, replay: bool) -> Mapping[str, Tensor]:
        """What the optimizer is given by parameter name for the first step, with or without the objective's rest."""
        if replay not in self._first:
            objective = self.objective if replay else self.objective.without_rest()
            self._first[replay] = moves(self.task, self.model, objective, self.optimization)
        return self._first[replay]

    def scale(self, target: Target, *, replay: bool) -> Scale:
        """First-order facts of the first step."""
        named = trained(self.model)
        logits = self.task.logits(self.model, target.batch.inputs)
        rows = torch.arange(len(target))
        margin = (logits[rows, target.predicted] - logits[rows, target.true]).mean()
        of_margin = _gradients(margin, named)
        move = self.optimization.direction(named, self.first(replay=replay))
        both = [name for name in move if name in of_margin]
        return Scale(
            margin=float(margin.detach()),
            slope=float(sum((of_margin[name] * move[name]).sum() for name in both)),
            direction_norm=_norm(move.values()),
            parameter_norm=_norm(p.detach() for p in named.values()),
        )


def _gradients(value: Tensor, named: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(named, found, strict=True) if gradient is not None}


def _norm(tensors: Iterable[Tensor]) -> float:
    return float(torch.stack([tensor.square().sum() for tensor in tensors]).sum().sqrt())


@dataclass(frozen=True)
class Recipe:
    """A learning rate, and whether other training examples are replayed."""

    learning_rate: float
    replay: bool

    def applied(self, objective: Objective) -> Objective:
        """The objective with or without its rest."""
        return objective if self.replay else objective.without_rest()


def candidates(start: Start, target: Target) -> list[Recipe]:
    """The recipes worth trying, in the order in which they are tried.

    Descending on examples may do without replay; ascending and leaving out never do, and continued training is nothing
    but replay, at a rate that the training record knows.
    """
    objective = start.objective
    if objective.continued:
        highest = _highest_rate(start.task)
        if highest > 0:
            return [Recipe(highest * factor, True) for factor in CONTINUED_FACTORS]
        base = start.scale(target, replay=True).learning_rate()
        return [Recipe(base * factor, True) for factor in HELD_FACTORS]
    base = start.scale(target, replay=False).learning_rate()
    if objective.needs_rest:
        return [Recipe(base * factor, True) for factor in HELD_FACTORS]
    return [Recipe(base * factor, replay) for replay in (False, True) for factor in FACTORS]


def _highest_rate(task: Task) -> float:
    return max([task.learning_rate or 0.0, *(float(c.learning_rate) for c in task.checkpoints)])


def line_search(
    start: Start,
    target: Target,
    recipes: Sequence[Recipe],
    held_out: Sequence[Batch],
    *,
    max_steps: int,
    guard: Guard | None,
    ends_early: bool = True,
    reporter: Reporter,
) -> tuple[Recipe, Descent]:
    """The recipe that fixes the most targets with the least harm, and its descent.

    Harm is the mean loss afterwards on ``held_out``, a random slice of the training data, in batches, that takes no
    other part. Runs that fix all targets come first, those in which they stay fixed before the others; then runs
    that fix some, by their number; runs that fix none last, by the mean probability of the true class that they
    reached. Runs that diverge are left out. Once a run has fixed them all for good, the others get `PATIENCE` times
    as many steps, so that what is slow to train is not trained for long in vain.

    Raises:
        NumericalError: every run diverged.
    """
    best: tuple[tuple[int, int, float], Recipe, Descent] | None = None
    allowed = max_steps
    for number, recipe in enumerate(recipes):
        try:
            run = descend(
                start.task,
                start.model,
                recipe.applied(start.objective),
                target,
                learning_rate=recipe.learning_rate,
                max_steps=allowed,
                optimization=start.optimization,
                guard=guard,
                ends_early=ends_early,
                first=start.first(replay=recipe.replay),
                reporter=reporter.share(number / len(recipes), (number + 1) / len(recipes)),
                message="Choosing the step size",
            )
        except NumericalError:
            continue  # too large a step; a smaller one may do
        with torch.no_grad():
            harm = float(mean_loss(start.task, run.model, held_out, start.task.loss))
        rank = _rank(run, harm)
        if run.stopped == "reached":
            allowed = min(allowed, max(LEAST_STEPS, PATIENCE * run.steps))
        if math.isfinite(harm) and (best is None or rank < best[0]):
            best = (rank, recipe, run)
    if best is None:
        raise NumericalError(
            "Fine-tuning diverged at every step size: choose fewer or other training examples, or another strategy; "
            "nothing was changed."
        )
    return best[1], best[2]


def _rank(run: Descent, harm: float) -> tuple[int, int, float]:
    """Smaller is better, see `line_search`."""
    count = run.fixed_count
    if not count:
        return 2, 0, -float(run.true_probabilities[-1])
    return (2 if not run.fixed else 0 if run.stopped == "reached" else 1), -count, harm
