"""The linear datamodeling score (Park et al. 2023)."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.stats import rankdata
from torch import Tensor

from .queries import Queries
from .truth import Truth


def spearman(first: Tensor, second: Tensor) -> np.ndarray:
    """Rank correlation of each column: (subsets, Q) twice gives (Q,)."""
    ranks = [rankdata(values.numpy(), axis=0) for values in (first, second)]
    centred = [r - r.mean(axis=0) for r in ranks]
    norms = [np.sqrt((c**2).sum(axis=0)) for c in centred]
    return (centred[0] * centred[1]).sum(axis=0) / (norms[0] * norms[1])


def lds(truth: Truth, queries: Queries, scores: Tensor) -> dict[str, float]:
    """Rank correlation of predicted and real measurements over the subsets, mean over queries.

    Args:
        scores: (N, Q), positive where training on the example pushed the measurement up; a subset's prediction is
            the sum over its examples.

    Returns:
        ``lds`` and its ``standard_error`` over queries.
    """
    return summary(marks(truth, queries, truth.member @ scores.double()))


def marks(truth: Truth, queries: Queries, predicted: Tensor) -> np.ndarray:
    """Rank correlation of each query (Q,), of predictions (subsets, Q)."""
    return spearman(queries.value(truth.logits).mean(dim=1), predicted)


def difference(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """How far the marks of one method lie above those of another for the same queries.

    Returns:
        The mean ``difference`` and its ``standard_error`` over queries.
    """
    found = summary(first - second)
    return {"difference": found["lds"], "standard_error": found["standard_error"]}


def agreement(truth: Truth, queries: Queries) -> dict[str, float]:
    """How far the truth itself can be trusted, mean over queries.

    Returns:
        ``halves``: rank correlation of two disjoint halves of the seeds, with its ``standard_error``. ``ceiling``:
        what a perfect prediction would reach, the square root of the reliability of the mean over all seeds, by
        Spearman and Brown from the mean correlation of two single seeds.
    """
    real = queries.value(truth.logits)
    seeds = real.shape[1]
    half = seeds // 2
    halves = summary(spearman(real[:, :half].mean(dim=1), real[:, half:].mean(dim=1)))
    pairs = [spearman(real[:, a], real[:, b]) for a, b in combinations(range(seeds), 2)]
    single = max(float(np.mean(pairs)), 0.0)
    reliability = seeds * single / (1 + (seeds - 1) * single)
    return {"halves": halves["lds"], "standard_error": halves["standard_error"], "ceiling": reliability**0.5}


def summary(each: np.ndarray) -> dict[str, float]:
    """Mean ``lds`` and ``standard_error`` of marks (Q,)."""
    return {"lds": float(np.mean(each)), "standard_error": float(np.std(each) / np.sqrt(len(each)))}
