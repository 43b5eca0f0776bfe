"""A few steps of fine-tuning, watched at the test examples that they are to correct."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attribution.batches import Batch
from attribution.errors import NumericalError
from attribution.fixing.guard import Guard
from attribution.fixing.objective import Objective
from attribution.fixing.optimization import Optimization, trained
from attribution.measurements import probabilities
from attribution.progress import SILENT, Reporter
from attribution.task import Task

STAYS = 2
"""Steps that are looked ahead where the target is reached: the prediction has to stay through them."""

HALVINGS = 8
"""How finely the last step of an ascent is shortened to end below its cap."""

SHORTENINGS = 4
"""How finely the step that reaches the target is shortened, by bisection."""

CLEAR_LEAD = 0.1
"""What stays of that step leaves the true class more probable than the next one by this share.

Other predictions broken per fix on digits, helpers / relabelled culprits of path: 1.5 / 2.6 at 0, 1.5 / 2.7 at 0.1,
1.7 / 3.3 at 0.5, 2.0 / 4.3 for whole steps.
"""

PACE_STEPS, PACE_SLACK = 10, 3.0
"""A descent ends early where, at this many times the pace of its last so many steps, the target is out of reach.

Of the 5,258 fixes tried on digits (39 mispredictions) and fashion (200), with every strategy and choice of examples,
three are missed so: random helpers that took 33, 48 and 49 steps. Training on without some examples is left to its end:
there the margin comes and goes with the batches.
"""

StopReason = Literal["reached", "steps", "guard", "cap", "best", "stalled"]


@dataclass(frozen=True)
class Target:
    """The mispredictions to correct together: T test examples with their true and predicted class numbers (T,)."""

    batch: Batch
    true: Tensor
    predicted: Tensor

    def __len__(self) -> int:
        return len(self.true)

    def reached(self, probabilities: Tensor) -> Tensor:
        """Which targets probabilities (..., T, C) give the true class, (..., T)."""
        return probabilities.argmax(dim=-1) == self.true


@dataclass
class Descent:
    """The model after the last step, and the probabilities (steps + 1, T, C) of the targets after each step.

    ``stopped`` is why there was no further step: all targets were ``reached`` and stayed so for `STAYS` more steps,
    the ``steps`` were used up, another one would have broken more than the ``guard`` allows, the unlearned examples
    are at their ``cap``, or it had ``stalled`` so far from the targets that the steps left would not do. Of several
    targets that were never all reached for good, the ``best`` step is the last one: the first after which the most
    were right; what came after is taken back.
    """

    model: nn.Module
    probabilities: Tensor
    target: Target
    stopped: StopReason

    @property
    def fixed_targets(self) -> list[bool]:
        """For each target, whether the model predicts its true class."""
        found: list[bool] = self.target.reached(self.probabilities[-1]).tolist()
        return found

    @property
    def fixed_count(self) -> int:
        """How many targets the model predicts as their true class."""
        return sum(self.fixed_targets)

    @property
    def fixed(self) -> bool:
        """Whether the model predicts the true class of every target."""
        return all(self.fixed_targets)

    @property
    def true_probabilities(self) -> Tensor:
        """Mean over targets of the true class's probability, after each step (steps + 1,)."""
        return self._mean_of(self.target.true)

    @property
    def former_probabilities(self) -> Tensor:
        """Mean over targets of the formerly predicted class's probability, after each step (steps + 1,)."""
        return self._mean_of(self.target.predicted)

    def _mean_of(self, classes: Tensor) -> Tensor:
        return self.probabilities[:, torch.arange(len(classes)), classes].mean(dim=1)

    @property
    def steps(self) -> int:
        """Steps taken."""
        return len(self.probabilities) - 1


def descend(
    task: Task,
    model: nn.Module,
    objective: Objective,
    target: Target,
    *,
    learning_rate: float,
    max_steps: int,
    optimization: Optimization | None = None,
    guard: Guard | None = None,
    ends_early: bool = True,
    first: Mapping[str, Tensor] | None = None,
    reporter: Reporter = SILENT,
    message: str = "Fine-tuning",
) -> Descent:
    """Steps on ``objective``, on a copy of ``model``, until all targets are predicted right and stay so.

    The model stays in evaluation mode: dropout is off and BatchNorm statistics are frozen, so nothing but the examples
    changes the weights.

    Args:
        ends_early: where at its pace the targets are out of reach.
        first: what `moves` gives for the first step, where it is known.

    Raises:
        NumericalError: the loss or the weights became NaN or infinite; ``model`` itself is untouched.
    """
    patched = copy.deepcopy(model).eval()
    walk = _Walk(task, patched, objective, optimization or Optimization(), learning_rate, first)
    rows = [_probabilities(task, patched, target)]
    best, pace = _Best(), _Pace(target)
    stopped: StopReason = "steps"
    for step in range(max_steps):
        reporter(step / max_steps, f"{message}: step {step + 1} of at most {max_steps}")
        before = walk.snapshot()
        at_cap = walk.step(step)
        row = _probabilities(task, patched, target)
        if not (bool(torch.isfinite(row).all()) and walk.finite()):
            raise NumericalError(
                f"Fine-tuning diverged at step {step + 1}: choose other training examples or another strategy; nothing "
                "was changed."
            )
        reached = bool(target.reached(row).all()) and (at_cap or _stays(task, walk, target, step + 1))
        if reached:
            row = _shortened(task, walk, before, target)
        if guard is not None and not guard.allows(patched):
            walk.restore(before)
            stopped = "guard"
            break
        rows.append(row)
        if reached:
            stopped = "reached"
            break
        if len(target) > 1:
            best.see(walk, len(rows) - 1, int(target.reached(row).sum()))
        if at_cap:
            stopped = "cap"
            break
        if ends_early and not objective.continued and pace.too_slow(row, left=max_steps - step - 1):
            stopped = "stalled"
            break
    if not bool(target.reached(rows[-1]).all()) and best.state is not None and best.step < len(rows) - 1:
        walk.restore(best.state)
        del rows[best.step + 1 :]
        stopped = "best"
    return Descent(patched, torch.stack(rows), target, stopped)


def moves(
    task: Task, model: nn.Module, objective: Objective, optimization: Optimization, step: int = 0
) -> dict[str, Tensor]:
    """What the optimizer is given by parameter name for step number ``step`` (from 0) of an objective."""
    parameters = trained(model)
    loss = objective.loss(task, model, step)
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return optimization.mapped(
        {name: g for name, g in zip(parameters, gradients, strict=True) if g is not None}
    )


def _shortened(task: Task, walk: _Walk, before: _Snapshot, target: Target) -> Tensor:
    """Take back of the step since ``before`` what is not needed; the probabilities (T, C) after that.

    Steps are coarse, and what lies beyond the border harms other predictions: on digits a third of all that helpers
    broke, and of what relabelled culprits broke.
    """
    after = walk.snapshot()
    low, high = 0.0, 1.0
    for _ in range(SHORTENINGS):
        middle = (low + high) / 2
        walk.between(before.parameters, after.parameters, middle)
        clear = _is_clear(_probabilities(task, walk.model, target), target)
        low, high = (low, middle) if clear else (middle, high)
    walk.between(before.parameters, after.parameters, high)
    return _probabilities(task, walk.model, target)


def _is_clear(probabilities: Tensor, target: Target) -> bool:
    """Whether every target's true class is more probable than any other by `CLEAR_LEAD`, given (T, C)."""
    rows = torch.arange(len(target))
    others = probabilities.clone()
    others[rows, target.true] = 0.0
    return bool((probabilities[rows, target.true] >= (1 + CLEAR_LEAD) * others.amax(dim=1)).all())


def _stays(task: Task, walk: _Walk, target: Target, step: int) -> bool:
    """Whether the targets keep their true classes through `STAYS` further steps, which are taken back."""
    here = walk.snapshot()
    stays = True
    for ahead in range(STAYS):
        at_cap = walk.look(step + ahead)
        stays = bool(target.reached(_probabilities(task, walk.model, target)).all())
        if at_cap or not stays:
            break
    walk.restore(here)
    return stays


@dataclass
class _Best:
    """The first step after which the most targets were right, at least one, and the model there."""

    count: int = 0
    step: int = 0
    state: _Snapshot | None = None

    def see(self, walk: _Walk, step: int, count: int) -> None:
        if count > self.count:
            self.count, self.step, self.state = count, step, walk.snapshot()


class _Pace:
    """How fast a descent comes nearer to its target.

    Its distance is by how much the log-probability of the true class is below the largest other one, in nats, the mean
    over test examples; of steps that go to and fro the nearest so far counts. Of several test examples it is progress,
    too, if more of them are right than ever before, however far others drift away.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._nearest: list[float] = []
        self._most: list[int] = []

    def too_slow(self, probabilities: Tensor, left: int) -> bool:
        """Take note of (T, C) after a step, and say whether the ``left`` further ones cannot be expected to do."""
        rows = torch.arange(len(self._target))
        logs = probabilities.double().clamp_min(torch.finfo(torch.float64).tiny).log()
        others = logs.clone()
        others[rows, self._target.true] = -torch.inf
        distance = float((others.amax(dim=1) - logs[rows, self._target.true]).clamp_min(0.0).mean())
        self._nearest.append(min([distance, *self._nearest[-1:]]))
        self._most.append(max([int(self._target.reached(probabilities).sum()), *self._most[-1:]]))
        if not left or len(self._nearest) <= PACE_STEPS:
            return False
        if self._most[-1] > self._most[-1 - PACE_STEPS]:
            return False
        gained = self._nearest[-1 - PACE_STEPS] - self._nearest[-1]
        return PACE_SLACK * gained / PACE_STEPS * left < self._nearest[-1]


@dataclass(frozen=True)
class _Snapshot:
    parameters: Mapping[str, Tensor]
    optimizer: dict[str, Any]


class _Walk:
    """A model on its way: its optimizer, and the way back.

    Args:
        first: what the optimizer is given for step 0, where it is known.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        objective: Objective,
        optimization: Optimization,
        learning_rate: float,
        first: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.model = model
        self._task = task
        self._objective = objective
        self._optimization = optimization
        self._first = first
        self._parameters = trained(model)
        self._optimizer = optimization.start(model, learning_rate)
        self._seen: dict[int, tuple[_Snapshot, bool]] = {}

    def step(self, number: int) -> bool:
        """Take step ``number`` (from 0); True where it was the last, as the unlearned examples are at their cap."""
        if number in self._seen:
            after, at_cap = self._seen[number]
            self.restore(after)
            return at_cap
        return self._take(number)

    def look(self, number: int) -> bool:
        """The same for a step that will be taken back: if it is to be taken after all, it is not worked out again."""
        at_cap = self.step(number)
        self._seen[number] = self.snapshot(), at_cap
        self._seen = {seen: after for seen, after in self._seen.items() if seen > number - STAYS}
        return at_cap

    def _take(self, number: int) -> bool:
        unlearned = self._objective.unlearned
        before = self._copies() if unlearned is not None else {}
        known = self._first if number == 0 else None
        if known is None:
            known = moves(self._task, self.model, self._objective, self._optimization, number)
        for name, move in known.items():
            self._parameters[name].grad = move.clone() if number == 0 else move
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if unlearned is None or unlearned.room(self._task, self.model) > 0:
            return False
        self._shorten(before)
        return True

    def _shorten(self, before: Mapping[str, Tensor]) -> None:
        """Go back towards ``before`` until the unlearned examples are at or below their cap, by bisection."""
        after, unlearned = self._copies(), self._objective.unlearned
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            self.between(before, after, middle)
            inside = unlearned is not None and unlearned.room(self._task, self.model) >= 0
            low, high = (middle, high) if inside else (low, middle)
        self.between(before, after, low)

    def between(self, before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float) -> None:
        """Go to the point at this share of the way from ``before`` to ``after``."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(torch.lerp(before[name], after[name], share))

    def finite(self) -> bool:
        """Whether every parameter is a finite number."""
        return all(bool(torch.isfinite(p).all()) for p in self._parameters.values())

    def _copies(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self._parameters.items()}

    def snapshot(self) -> _Snapshot:
        return _Snapshot(self._copies(), copy.deepcopy(self._optimizer.state_dict()))

    def restore(self, snapshot: _Snapshot) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(snapshot.parameters[name])
        self._optimizer.load_state_dict(snapshot.optimizer)


def _probabilities(task: Task, model: nn.Module, target: Target) -> Tensor:
    with torch.no_grad():
        return probabilities(task.logits(model, target.batch.inputs)).cpu()
