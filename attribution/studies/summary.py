"""Outcomes of fixes summed up, with what a finite number of mispredictions leaves uncertain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.studies.outcomes import Outcome

MEANS = ("success", "accuracy_change", "newly_fixed", "newly_broken")

RESAMPLES = 2000
"""Bootstrap samples of an interval."""


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Means over mispredictions.

    Returns:
        ``success`` (a rate), ``median_steps`` of the successful, ``accuracy_change`` (a fraction), ``newly_fixed`` and
        ``newly_broken`` per fix, the standard errors of all means (``*_standard_error``, None of a single outcome);
        ``broken_per_fixed``, other predictions broken for each other one fixed, and its 95 % bootstrap interval
        (``broken_per_fixed_interval``; both None where nothing else is fixed); ``seconds`` per fix.
    """
    steps = [outcome.steps for outcome in outcomes if outcome.fixed]
    result: dict[str, Any] = {"median_steps": float(np.median(steps)) if steps else None}
    for name, values in zip(MEANS, _columns(outcomes), strict=True):
        result[name] = float(values.mean())
        result[f"{name}_standard_error"] = _standard_error(values)
    _, _, repaired, broken = _columns(outcomes)
    result["broken_per_fixed"] = float(broken.sum() / repaired.sum()) if repaired.sum() else None
    result["broken_per_fixed_interval"] = _ratio_interval(broken, repaired)
    result["seconds"] = float(np.mean([outcome.seconds for outcome in outcomes]))
    return result


def difference(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> dict[str, Any]:
    """Mean differences, ours less theirs, of outcomes for the same mispredictions, with standard errors (paired)."""
    result: dict[str, Any] = {}
    for name, mine, other in zip(MEANS, _columns(ours), _columns(theirs), strict=True):
        result[name] = float((mine - other).mean())
        result[f"{name}_standard_error"] = _standard_error(mine - other)
    return result


def _columns(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    """The values behind `MEANS`, (4, n)."""
    rows = [(o.fixed, o.accuracy_change, o.newly_fixed, o.newly_broken) for o in outcomes]
    return np.array(rows, dtype=np.float64).T


def _standard_error(values: NDArray[np.float64]) -> float | None:
    """Of the mean; None of a single value."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def _ratio_interval(above: NDArray[np.float64], below: NDArray[np.float64]) -> list[float] | None:
    """95 % percentile bootstrap of a ratio of sums; None where a resample may have nothing below the line."""
    drawn = np.random.default_rng(0).integers(len(above), size=(RESAMPLES, len(above)))
    sums = below[drawn].sum(axis=1)
    if not len(above) > 1 or not (sums > 0).all():
        return None
    return [float(bound) for bound in np.quantile(above[drawn].sum(axis=1) / sums, (0.025, 0.975))]
