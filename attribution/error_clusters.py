"""Groups of mispredictions that have common causes, told from what `prepare` stored. No torch.

In the last layer, the influence of a training example i on the margin of a test example f is (u_f · u_i)(h_fᵀ A⁻¹ h_i),
to first order: h is what the layer reads, A its second moment (the input factor of K-FAC, Martens and Grosse 2015), u
the derivative with respect to the logits, which for the margin is e_predicted - e_true; the curvature in the logits is
left out. Two mispredictions of alike u and h therefore have alike influence profiles.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attribution.projects import Project

FARTHEST = 0.7
"""Mean cosine distance up to which clusters are joined.

Measured by the mean share of the 20 strongest culprits (by path) that two members have in common. On digits (39
mispredictions): 10 clusters of 27 in all with a share of 0.43, against 0.08 in random groups of the same sizes and 0.43
in the cells of the confusion matrix (22 in all); on fashion (230): 25 clusters of 218 with 0.47, against 0.04 and 0.48
(220). At 0.8 digits has 9 clusters of 31 with 0.35, fashion 14 of 224 with 0.34. Clustering the scores themselves does
no better (digits 0.46 with 25, fashion 0.33 with 225 at 0.6) and needs a method to be run on each.
"""

DAMPING = 1.0
"""Of the metric, times its mean eigenvalue.

Without the metric representations are alike wherever predictions are, and the 314 mispredictions of reviews, of two
classes, make one cluster of 258; with it 59 clusters of 126, of at most 4.
"""

MOST = 3000
"""Mispredictions that are clustered at most, those of the highest loss: distances grow with the square."""

CELLS, WORDS = 2, 3
"""Parts of a cluster's name at most."""

COMMON = 0.1
"""Share of all texts above which a word is too common to name a cluster."""


@dataclass(frozen=True)
class ErrorCluster:
    """Mispredictions of a common cause.

    Args:
        test_ids: at least two, worst loss first.
        cells: (true, predicted, count), commonest first.
        words: that tell the texts in it from other texts, most telling first; empty where examples are no texts.
    """

    test_ids: list[str]
    cells: list[tuple[str, str, int]]
    words: list[str]

    @property
    def name(self) -> str:
        """What to call it, by its commonest cells and its words."""
        shown = ", ".join(f"{true} → {predicted}" for true, predicted, _ in self.cells[:CELLS])
        more = len(self.cells) - CELLS
        named = shown + (f" and {more} more" if more > 0 else "")
        return named + (f": {', '.join(self.words)}" if self.words else "")

    def contract(self) -> dict[str, Any]:
        """The shape that ``tracefix mispredictions --clusters --json`` prints."""
        return {
            "name": self.name,
            "cells": [{"true": t, "predicted": p, "count": count} for t, p, count in self.cells],
            "words": self.words,
            "examples": self.test_ids,
        }


COUNTED = 20_000
"""Texts in which it is counted how common a word is, at even distances: reading 100,000 takes seconds."""


def error_clusters(project: Project, *, farthest: float = FARTHEST) -> list[ErrorCluster]:
    """Clusters of at least two mispredictions, largest first, equals by their worst loss.

    By average linkage (Sokal and Michener 1958): how near two clusters are is the mean over all pairs, so that the
    distance at which joining ends is a statement about the members of a cluster, and their number need not be known.
    Where the model has no representations, clusters are the cells of the confusion matrix and what shares a class.

    Args:
        farthest: mean cosine distance up to which clusters are joined.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    table = project.predictions("test")
    positions = np.flatnonzero((table["label"] != table["predicted"]).to_numpy())
    order = np.argsort(-table["loss"].to_numpy()[positions], kind="stable")
    positions = positions[order][:MOST]
    wrong = table.iloc[positions]
    if len(wrong) < 2:
        return []
    distances = 1 - profile_cosines(project, positions.tolist())
    np.fill_diagonal(distances, 0.0)
    numbers = fcluster(linkage(squareform(distances, checks=False), "average"), farthest, "distance")
    members = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    members = sorted((m for m in members if len(m) > 1), key=lambda m: (-len(m), m[0]))
    texts = _texts(project)
    common = None if texts is None else WordCounts(texts, [str(i) for m in members for i in wrong.index[m]])
    return [_described(project, wrong.iloc[m], common) for m in members]


def profile_cosines(project: Project, positions: Sequence[int]) -> NDArray[np.float64]:
    """Cosines (Q, Q) of the last layer's gradients of the margins of Q mispredicted test examples, in the metric A⁻¹.

    A is the covariance of the test set's representations, damped by `DAMPING` times its mean eigenvalue.
    Representations are taken about their mean: they are mostly positive, and what all have in common tells nothing.
    """
    rows = project.predictions("test").iloc[list(positions)]
    towards = np.zeros((len(rows), len(project.class_names)))
    towards[np.arange(len(rows)), rows["predicted"]] += 1
    towards[np.arange(len(rows)), rows["label"]] -= 1
    found = _cosines(towards @ towards.T)
    file = project.prepared_directory / "test_representations.npy"
    if not file.exists():
        return found
    centred = np.load(file).astype(np.float64)
    centred -= centred.mean(axis=0)
    covariance = centred.T @ centred / len(centred)
    covariance[np.diag_indices_from(covariance)] += max(
        DAMPING * float(np.trace(covariance)) / len(covariance), 1e-12
    )
    mine = centred[list(positions)]
    return found * _cosines(mine @ np.linalg.solve(covariance, mine.T))


def _cosines(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of vectors with these inner products (Q, Q); one without a length is like no other."""
    lengths = np.sqrt(np.maximum(np.diag(products), 1e-24))
    found: NDArray[np.float64] = np.clip(products / np.outer(lengths, lengths), -1.0, 1.0)
    return found


def _described(project: Project, rows: pd.DataFrame, common: WordCounts | None) -> ErrorCluster:
    names = project.class_names
    cells = Counter(
        (names[int(t)], names[int(p)]) for t, p in zip(rows["label"], rows["predicted"], strict=True)
    )
    ids = [str(test_id) for test_id in rows.index]
    return ErrorCluster(
        test_ids=ids,
        cells=[(true, predicted, count) for (true, predicted), count in cells.most_common()],
        words=[] if common is None else common.telling(ids),
    )


def _texts(project: Project) -> pd.Series | None:
    examples = project.examples("test")
    return examples["text"] if project.kind == "text" and "text" in examples.columns else None


class WordCounts:
    """How many texts have a word; read once for all clusters.

    Args:
        texts: of all test examples, by id.
        members: ids of the texts that will be asked about; the others are counted as far as `COUNTED` goes.
    """

    def __init__(self, texts: pd.Series, members: Sequence[str]) -> None:
        places = texts.index.get_indexer(list(members))
        self._of = {m: _words(text) for m, text in zip(members, texts.iloc[places], strict=True)}
        candidates = set().union(*self._of.values()) if self._of else set()
        others = np.setdiff1d(np.arange(len(texts)), places)
        read = (
            others[np.unique(np.linspace(0, len(others) - 1, COUNTED).astype(int))] if len(others) else others
        )
        counted = Counter(word for text in texts.iloc[read] for word in _words(text) & candidates)
        each = len(others) / max(len(read), 1)
        inside = Counter(word for words in self._of.values() for word in words)
        self._texts = len(texts)
        self._having = {word: count + each * counted[word] for word, count in inside.items()}

    def telling(self, ids: Sequence[str], *, most: int = WORDS) -> list[str]:
        """Words that several of these texts have and few of all do: the largest share here times log(N / with it).

        What more than a tenth of all texts have (`COMMON`) tells nothing, however many of these have it.
        """
        here = Counter(word for one in ids for word in self._of[one])
        rare = [
            word for word, count in here.items() if count > 1 and self._having[word] <= COMMON * self._texts
        ]
        weight = {word: here[word] / len(ids) * np.log(self._texts / self._having[word]) for word in rare}
        return sorted(rare, key=lambda word: (-weight[word], word))[:most]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]{3,}", str(text).lower()))
