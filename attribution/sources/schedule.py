"""The learning rate of every step of a run, from what its log says of some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Rates = dict[int, float]
"""Learning rate by step, counted from 1."""

Shape = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Share of the run after the warm-up that is over -> share of the peak."""


def _linear(progress: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 - progress


def _cosine(progress: NDArray[np.float64]) -> NDArray[np.float64]:
    return (1 + np.cos(np.pi * progress)) / 2


_SHAPES: tuple[Shape, ...] = (_linear, _cosine, np.ones_like)
"""The Trainer's usual schedules: linear, cosine, constant."""

_SAME = 1e-4
"""Relative to the peak: a schedule is recognised where it is no further off at any known step."""

_THINNED = 1e-3
"""Relative to the peak: how far a step left out may be off the line between those kept."""


def completed(known: Mapping[int, float], total: int, peak: float | None) -> Rates:
    """The learning rates of a run of ``total`` steps, at as many steps as it takes for straight lines in between.

    A log starts some steps into the run, and with a warm-up all depends on what was before. Where one of the Trainer's
    usual schedules, with a warm-up of any length, agrees with every known step, it says the rest exactly; else what
    is not known follows straight lines between known steps, and is constant before the first and after the last.

    Args:
        known: learning rate of some steps.
        total: steps that the schedule was made for.
        peak: the rate that the schedule multiplies; None where unknown.
    """
    if not known or total < 1:
        return dict(known)
    steps = np.array(sorted(known), dtype=np.float64)
    rates = np.array([known[int(step)] for step in steps])
    every = np.arange(1, total + 1, dtype=np.float64)
    found = None if peak is None or peak <= 0 else _recognised(steps, rates, total, peak, every)
    values = np.interp(every, steps, rates) if found is None else found
    return _thinned(every, values)


def _recognised(
    steps: NDArray[np.float64],
    rates: NDArray[np.float64],
    total: int,
    peak: float,
    every: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """The rates of all steps by the schedule that gives the known ones; None where none does."""
    warmups = np.arange(total, dtype=np.float64)
    for shape in _SHAPES:
        fits = np.ones(len(warmups), dtype=bool)
        for step, rate in zip(steps, rates, strict=True):
            off = np.abs(_rate(shape, np.float64(step - 1), warmups[fits], total) - rate / peak)
            fits[fits] = off <= _SAME
            if not fits.any():
                break
        else:
            return peak * _rate(shape, every - 1, warmups[fits][:1], total)
    return None


def _rate(
    shape: Shape,
    taken: NDArray[np.float64] | np.float64,
    warmups: NDArray[np.float64],
    total: int,
) -> NDArray[np.float64]:
    """What the peak is multiplied by after ``taken`` steps: rising for ``warmups`` steps, then as the shape says."""
    rising = taken / np.maximum(warmups, 1)
    falling = shape(np.clip((taken - warmups) / np.maximum(total - warmups, 1), 0, 1))
    return np.where(taken < warmups, rising, falling)


def _thinned(steps: NDArray[np.float64], values: NDArray[np.float64]) -> Rates:
    """The ends, and the steps without which straight lines would be too far off (Douglas & Peucker 1973)."""
    tolerance = _THINNED * float(np.abs(values).max())
    kept = {0, len(steps) - 1}
    pieces = [(0, len(steps) - 1)]
    while pieces:
        start, end = pieces.pop()
        if end - start < 2:
            continue
        line = np.interp(steps[start : end + 1], [steps[start], steps[end]], [values[start], values[end]])
        off = np.abs(values[start : end + 1] - line)
        furthest = start + int(off.argmax())
        if off.max() > tolerance:
            kept.add(furthest)
            pieces += [(start, furthest), (furthest, end)]
    return {int(steps[place]): float(values[place]) for place in sorted(kept)}
