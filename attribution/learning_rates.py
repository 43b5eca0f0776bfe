"""Learning rates along a training run, from what its record says of some steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attribution.task import Task


def known_rates(task: Task, *, start: int) -> dict[int, float]:
    """The learning rate by step where checkpoints and log say it; the peak at step ``start`` where no log does."""
    known = {c.step: float(c.learning_rate) for c in task.checkpoints} | dict(task.learning_rates)
    if task.learning_rate is not None and not task.learning_rates:
        known.setdefault(start, task.learning_rate)
    return dict(sorted(known.items()))


def rates_of_steps(task: Task, first: int, last: int) -> NDArray[np.float64] | None:
    """The learning rates of steps ``first`` to ``last`` (counted from 1): linear between known steps, constant before
    and after them. None where none is known, or all are zero.
    """
    known = known_rates(task, start=1)
    if not any(rate > 0 for rate in known.values()):
        return None
    rates: NDArray[np.float64] = np.interp(
        np.arange(first, last + 1), list(known), list(known.values())
    ).astype(np.float64)
    return rates
