"""BM25: word overlap, the baseline for texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Method, MethodInfo, ProjectFacts, register

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from attribution.query import Query

SATURATION, LENGTH_SHARE = 1.5, 0.75
"""k₁ and b of Robertson & Zaragoza 2009, at their usual values."""


@register
class Bm25(Method):
    """score_i = BM25(test text, training text i) · ∂f/∂z_{y_i}: texts that share rare words, signed by their label."""

    info = MethodInfo(
        name="bm25",
        title="Shared words (BM25, baseline)",
        citation="Robertson & Zaragoza 2009",
        needs=["texts"],
        cost="nothing: words are counted",
        calibrated=False,
        family="baseline",
        one_line="Training texts that share rare words with the test text, signed by their label.",
    )
    from_gradients = False

    def missing(self, facts: ProjectFacts) -> str | None:
        if facts.kind == "text":
            return None
        return "It compares the words of texts, and the examples of this project are not texts: use representation."

    def scores(self, query: Query) -> Tensor:
        texts = query.loaded.texts("test")
        mine = [texts[target.position] for target in query.targets]
        similarities = query.asked(bm25(query.loaded.texts("train"), mine).T).T
        return similarities * query.measurements_by_logit()[:, query.labels()]


def bm25(documents: Sequence[str], queries: Sequence[str]) -> Tensor:
    """Okapi BM25 (Q, N) of documents for queries, in float64; a word of the query counts as often as it occurs.

    Words are runs of letters and digits, in lower case; one in n of N documents weighs log(1 + (N - n + ½)/(n + ½)).
    """
    import numpy as np
    import torch
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(token_pattern=r"\w+", dtype="float64")
    counts = counter.fit_transform(documents).tocsr()
    wanted = counter.transform(queries)
    total = counts.shape[0]
    containing = counts.getnnz(axis=0)
    rarity = np.log1p((total - containing + 0.5) / (containing + 0.5))
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    norms = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * lengths / max(lengths.mean(), 1e-12))
    saturated = counts.tocoo()
    saturated.data = saturated.data * (SATURATION + 1) / (saturated.data + norms[saturated.row])
    scores = wanted.multiply(rarity).tocsr() @ saturated.tocsr().T
    return torch.from_numpy(scores.toarray())
