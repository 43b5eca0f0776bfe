"""Groups of mispredictions that have common causes, told from what `prepare` stored. No torch.

In the last layer, the influence of a training example i on the margin of a test example f is (u_f · u_i)(h_f · h_i), to
first order and up to the curvature: h is what the layer reads, u the derivative with respect to the logits, which for
the margin is e_predicted - e_true. Two mispredictions of alike u and h therefore have alike influence profiles.
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

FARTHEST = 0.6
"""Mean cosine distance up to which clusters are joined.

Measured by the mean share of the 20 strongest culprits (by path) that two members have in common. On digits (39
mispredictions): 9 clusters of 24 in all with a share of 0.47, against 0.09 in random groups of the same sizes and 0.43
in the cells of the confusion matrix (22 in all); on fashion (230): 26 clusters of 221 with 0.48, against 0.04 and 0.48
(220). At 0.5 digits has 6 clusters of 17 with 0.53; at 0.8, 10 of 34 with 0.33 (fashion 0.26). Clustering the scores
themselves is no better (digits 0.47 with 25, fashion 0.33 with 225 at 0.6) and needs a method to be run on each.
"""

MOST = 3000
"""Mispredictions that are clustered at most, those of the highest loss: distances grow with the square."""

CELLS, WORDS = 2, 3
"""Parts of a cluster's name at most."""


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
    wrong = table[table["label"] != table["predicted"]].sort_values("loss", ascending=False, kind="stable")[
        :MOST
    ]
    if len(wrong) < 2:
        return []
    distances = 1 - profile_cosines(project, [project.position("test", test_id) for test_id in wrong.index])
    np.fill_diagonal(distances, 0.0)
    numbers = fcluster(linkage(squareform(distances, checks=False), "average"), farthest, "distance")
    members = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    members = sorted((m for m in members if len(m) > 1), key=lambda m: (-len(m), m[0]))
    texts = _texts(project)
    return [_described(project, wrong.iloc[m], texts) for m in members]


def profile_cosines(project: Project, positions: Sequence[int]) -> NDArray[np.float64]:
    """Cosines (Q, Q) of the last layer's gradients of the margins of Q mispredicted test examples.

    Representations are taken about their mean: they are mostly positive, and what all have in common tells nothing.
    """
    rows = project.predictions("test").iloc[list(positions)]
    towards = np.zeros((len(rows), len(project.class_names)))
    towards[np.arange(len(rows)), rows["predicted"]] += 1
    towards[np.arange(len(rows)), rows["label"]] -= 1
    found = _cosines(towards)
    file = project.prepared_directory / "test_representations.npy"
    if file.exists():
        stored = np.load(file, mmap_mode="r")
        mean = stored.mean(axis=0, dtype=np.float64)
        found = found * _cosines(stored[list(positions)].astype(np.float64) - mean)
    return found


def _cosines(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found: NDArray[np.float64] = np.clip(unit @ unit.T, -1.0, 1.0)
    return found


def _described(project: Project, rows: pd.DataFrame, texts: pd.Series | None) -> ErrorCluster:
    names = project.class_names
    cells = Counter(
        (names[int(t)], names[int(p)]) for t, p in zip(rows["label"], rows["predicted"], strict=True)
    )
    ids = [str(test_id) for test_id in rows.index]
    return ErrorCluster(
        test_ids=ids,
        cells=[(true, predicted, count) for (true, predicted), count in cells.most_common()],
        words=[] if texts is None else telling_words(texts, ids),
    )


def _texts(project: Project) -> pd.Series | None:
    examples = project.examples("test")
    return examples["text"] if project.kind == "text" and "text" in examples.columns else None


def telling_words(texts: pd.Series, ids: Sequence[str], *, most: int = WORDS) -> list[str]:
    """Words that several of these texts have and few of all the others: share here times log(N / texts with it)."""
    here = Counter(word for text in texts.loc[list(ids)] for word in _words(text))
    candidates = {word for word, count in here.items() if count > 1}
    everywhere = Counter(word for text in texts for word in _words(text) & candidates)
    weight = {word: here[word] / len(ids) * np.log(len(texts) / everywhere[word]) for word in candidates}
    return [word for word in sorted(candidates, key=lambda word: (-weight[word], word)) if weight[word] > 0][
        :most
    ]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]{3,}", str(text).lower()))
