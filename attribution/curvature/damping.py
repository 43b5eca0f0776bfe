"""Choosing the damping without retraining anything.

A parameter direction of curvature σ is settled by training only if ηKσ is large, ηK being the sum of the learning
rates over all steps (times 1/(1-β) with momentum β). SOURCE (Bae et al. 2024) makes this exact for a quadratic and
is close to damping by 1/(ηK); measured on four settings (digits noisy and clean, Fashion-MNIST noisy and full),
`path` with a tenth of that is within .012 LDS of the best damping of all that were swept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attribution.learning_rates import known_rates
from attribution.task import Task

SHARE_OF_INVERSE_LENGTH = 0.1
SHARE_OF_MEAN = 0.1

REFINED_FACTOR = 40.0
"""How much more damping the Gauss-Newton matrix itself needs than EK-FAC, whose eigenvalues are smoothed averages.

The matrix has many directions of hardly any curvature, which EK-FAC never resolves; they hold the noise of a single
run. Measured on digits: EK-FAC is best around .001, the whole matrix around .03.
"""


@dataclass(frozen=True)
class Damping:
    """How much is added to every eigenvalue, and why, in words.

    ``relative`` says that ``value`` multiplies the mean eigenvalue; otherwise it is added as it is.
    """

    value: float
    relative: bool
    reason: str

    def refined(self) -> Damping:
        """The damping for solves with the Gauss-Newton matrix itself."""
        return Damping(
            self.value * REFINED_FACTOR,
            self.relative,
            f"{REFINED_FACTOR:g} times {self.reason}, for the exact matrix",
        )

    def absolute(self, mean_eigenvalue: float) -> float:
        """The damping in the curvature's own unit."""
        return self.value * mean_eigenvalue if self.relative else self.value


def automatic_damping(task: Task) -> Damping:
    """0.1/(ηK) where the training record says ηK, else a tenth of the mean eigenvalue."""
    length = training_length(task)
    if not length:
        return Damping(
            SHARE_OF_MEAN,
            relative=True,
            reason="0.1 of the mean eigenvalue, because the training record does not say how long SGD ran",
        )
    return Damping(
        SHARE_OF_INVERSE_LENGTH / length, relative=False, reason=f"0.1/(ηK) with ηK = {length:.4g}"
    )


def training_length(task: Task) -> float | None:
    """ηK of the whole run; None where unknown or not SGD."""
    last = task.checkpoints[-1].step if task.checkpoints else 0
    return span_length(task, 0, max(task.steps or last, last))


def span_length(task: Task, start: int, end: int) -> float | None:
    """ηK of the steps ``start`` to ``end`` of SGD: the sum of their learning rates, divided by 1 - momentum.

    None where the learning rates are unknown (`rate_sum`), or where the optimizer is not SGD.
    """
    if task.optimizer != "sgd" or not 0 <= task.momentum < 1:
        return None
    total = rate_sum(task, start, end)
    return None if total is None else total / (1 - task.momentum)


def rate_sum(task: Task, start: int, end: int) -> float | None:
    """The sum of the learning rates of the steps ``start`` to ``end``.

    Between the points at which the learning rate is known (log, start and checkpoints) it is taken as linear, before
    and after them as constant. None where it is unknown or zero throughout the run.
    """
    known = known_rates(task, start=0)
    if not any(rate > 0 for rate in known.values()):
        return None
    # The integral of the interpolated rate is exact where the pieces are cut at the known points.
    cuts = [start, *(step for step in known if start < step < end), end]
    rates = np.interp(cuts, list(known), list(known.values()))
    return float(np.sum((rates[1:] + rates[:-1]) / 2 * np.diff(cuts)))
