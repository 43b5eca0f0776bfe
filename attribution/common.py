"""What several test examples have in common: the training examples that are behind many of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attribution.errors import UsageError

STRONGEST = 20
"""A training example explains a prediction if it is among so many of its strongest culprits (or helpers)."""


def explained_counts(each: NDArray[np.floating], *, strongest: int = STRONGEST) -> NDArray[np.int64]:
    """In how many of Q explanations each training example is among the strongest culprits, (N,).

    Args:
        each: scores of each test example (Q, N); pass them negated to count helpers.
        strongest: how many of each count, as far as their scores are positive. Ties are broken by position.
    """
    counts = np.zeros(each.shape[1], dtype=np.int64)
    for scores in each:
        order = np.argsort(-scores, kind="stable")[:strongest]
        counts[order[scores[order] > 0]] += 1
    return counts


def common_order(scores: NDArray[np.floating], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions with a positive mean score (N,), those that explain the most first, equals by their mean score."""
    order = np.lexsort((-scores, -counts))
    return order[scores[order] > 0]


def distinct(test_ids: Sequence[str]) -> list[str]:
    """The ids of a group, each once, in the order in which they are first named.

    Raises:
        UsageError: there is none.
    """
    ids = list(dict.fromkeys(str(test_id) for test_id in test_ids))
    if not ids:
        raise UsageError("There is no test example to explain: choose at least one.")
    return ids
