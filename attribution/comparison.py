"""Several methods on one question, side by side: how far they agree, and what each costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from attribution.explanation import Explanation

LISTED = 20


@dataclass(frozen=True)
class Comparison:
    """Explanations of one measurement of one test example by M methods.

    Args:
        explanations: one a method.
        agreement: Spearman rank correlation of the scores of each pair of methods, (M, M); 0 where one is constant.
        overlap: share of the 20 strongest examples of one method that are also among another's, (M, M).
    """

    explanations: Sequence[Explanation]
    agreement: NDArray[np.float64]
    overlap: NDArray[np.float64]

    @property
    def methods(self) -> list[str]:
        """Names of the methods, in order."""
        return [explanation.method for explanation in self.explanations]


def compare(explanations: Sequence[Explanation]) -> Comparison:
    """Compare explanations of the same question."""
    scores = [explanation.scores for explanation in explanations]
    strongest = [set(np.argsort(-np.abs(s), kind="stable")[:LISTED].tolist()) for s in scores]
    size = len(scores)
    agreement, overlap = np.eye(size), np.eye(size)
    for first in range(size):
        for second in range(first):
            constant = any(np.ptp(scores[method]) == 0 for method in (first, second))
            rank = 0.0 if constant else float(spearmanr(scores[first], scores[second])[0])
            agreement[first, second] = agreement[second, first] = rank
            shared = len(strongest[first] & strongest[second]) / max(len(strongest[first]), 1)
            overlap[first, second] = overlap[second, first] = shared
    return Comparison(explanations, agreement, overlap)
