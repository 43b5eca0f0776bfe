"""What a fix does to everything else: the whole test set, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Bins of the expected calibration error, as in Guo et al. 2017."""


@dataclass(frozen=True)
class SideEffects:
    """Test positions whose prediction became right or wrong (those to be fixed left out), and accuracies.

    ``newly_broken_as`` are the classes that the newly broken are predicted as now.
    """

    newly_fixed: list[int]
    newly_broken: list[int]
    newly_broken_as: list[int]
    accuracy_before: float
    accuracy_after: float
    interval: tuple[float, float]
    per_class: list[tuple[int, float, float, int]]
    mcnemar_p: float
    """Exact two-sided p-value of McNemar's test that predictions became right as often as wrong."""
    calibration_before: float | None = None
    """Expected calibration error of the test set; None where confidences were not given."""
    calibration_after: float | None = None


def compare(
    labels: NDArray[np.int64],
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    targets: Sequence[int],
    *,
    confidence: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
) -> SideEffects:
    """Compare predicted classes (N,) before and after a fix of the examples at the positions ``targets``.

    ``confidence`` are the probabilities (N,) of the predicted classes, before and after.
    """
    right_before, right_after = before == labels, after == labels
    others = ~np.isin(np.arange(len(labels)), targets)
    gained, lost = right_after & ~right_before, right_before & ~right_after
    broken = np.flatnonzero(lost & others)
    per_class = [
        (
            int(c),
            float(right_before[labels == c].mean()),
            float(right_after[labels == c].mean()),
            int((labels == c).sum()),
        )
        for c in np.unique(labels)
    ]
    return SideEffects(
        newly_fixed=[int(p) for p in np.flatnonzero(gained & others)],
        newly_broken=broken.tolist(),
        newly_broken_as=after[broken].tolist(),
        accuracy_before=float(right_before.mean()),
        accuracy_after=float(right_after.mean()),
        interval=paired_interval(int(gained.sum()), int(lost.sum()), len(labels)),
        per_class=per_class,
        mcnemar_p=mcnemar(int(gained.sum()), int(lost.sum())),
        calibration_before=calibration_error(right_before, confidence[0]) if confidence else None,
        calibration_after=calibration_error(right_after, confidence[1]) if confidence else None,
    )


def paired_interval(gained: int, lost: int, total: int) -> tuple[float, float]:
    """95 % interval of a difference of paired proportions (Agresti and Min 2005: 1/2 added to each cell)."""
    n, b, c = total + 2, gained + 0.5, lost + 0.5
    difference = (b - c) / n
    half = 1.959964 * math.sqrt(max(b + c - (b - c) ** 2 / n, 0.0)) / n
    return max(difference - half, -1.0), min(difference + half, 1.0)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value of McNemar's test (1947): gained ~ Binomial(gained + lost, ½) if nothing changed."""
    changed = gained + lost
    tail = sum(math.comb(changed, k) for k in range(min(gained, lost) + 1))
    return min(1.0, float(2 * tail / 2**changed))


def calibration_error(right: NDArray[np.bool_], confidence: NDArray[np.floating], bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3): mean |accuracy - confidence| over bins of equal width.

    Args:
        right: whether each prediction is right (N,).
        confidence: probability of each predicted class (N,).
        bins: of the confidence.
    """
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of, weights=right - confidence.astype(np.float64), minlength=bins)
    return float(np.abs(gaps).sum() / len(right))
