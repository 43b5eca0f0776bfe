"""Accuracies as people read them: a number with its uncertainty."""

from __future__ import annotations

from attribution.intervals import wilson_interval

__all__ = ["percent", "points", "wilson_interval"]


def percent(share: float, digits: int = 1) -> str:
    """``0.873`` as ``87.3 %``."""
    return f"{100 * share:.{digits}f} %"


def points(difference: float, digits: int = 1) -> str:
    """A difference of two shares in percentage points, with its sign."""
    rounded = round(100 * difference, digits)
    sign = "−" if rounded < 0 else "+" if rounded > 0 else "±"
    return f"{sign}{abs(rounded):.{digits}f} pts"
