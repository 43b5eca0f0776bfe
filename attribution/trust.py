"""The trust line: what is cheap to know about how far an explanation can be believed, in numbers and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attribution.methods import Method
from attribution.query import Query

LISTED = 20


def trust_of(
    method: Method,
    portions: Sequence[Sequence[Query]],
    scores: Tensor,
    parts: Tensor | None,
    *,
    exact: bool,
    representations: NDArray[np.float32] | None,
) -> dict[str, Any]:
    """Signals about one explanation, which one or several models were asked for, of one or several test examples.

    ``checkpoint_agreement``: mean Spearman rank correlation between the scores of single checkpoints and of all
    the others together; ``model_agreement``: the same of the models of an ensemble; ``share_of_nearest``: share of
    the 20 strongest examples that are also among the 20 nearest by representation; ``residual``: of an iterative
    solve, relative; ``exact``: whether all scores come from whole gradients; ``sentence``.
    """
    agreement = _agreement(parts)
    share = _share_of_nearest([queries[0] for queries in portions], scores, representations)
    asked = [query for queries in portions for query in queries]
    residual = max((residual for query in asked for residual in query.residuals), default=None)
    ensemble = len(portions[0]) > 1
    words = []
    if agreement is not None:
        strength = "largely agree" if agreement >= 0.6 else "partly agree" if agreement >= 0.3 else "disagree"
        who = f"{len(portions[0])} models" if ensemble else "checkpoints"
        words.append(f"The {who} {strength} (mean rank correlation {agreement:.2f}).")
    if share is not None:
        words.append(
            f"{round(share * LISTED)} of the {LISTED} strongest are also among the {LISTED} nearest look-alikes."
        )
    if residual is not None:
        words.append(f"The curvature was inverted to a relative residual of {residual:.1e}.")
    if not method.info.calibrated:
        words.append("Scores rank examples; their size has no unit.")
    if not exact:
        words.append("The list is exact; scores far from the top leave a part of the gradients out.")
    words.append("Fidelity against retraining is not measured yet for this project.")
    return {
        "checkpoint_agreement": None if ensemble else agreement,
        "model_agreement": agreement if ensemble else None,
        "share_of_nearest": share,
        "residual": residual,
        "exact": exact,
        "sentence": " ".join(words),
    }


def _agreement(parts: Tensor | None) -> float | None:
    if parts is None or len(parts) < 2:
        return None
    total = parts.sum(dim=0)
    values = [spearman(part, total - part) for part in parts]
    return float(np.mean(values))


def spearman(first: Tensor, second: Tensor) -> float:
    """Spearman rank correlation of two vectors (N,), ties in order of position; 0 where one is constant."""
    ranks = [torch.argsort(torch.argsort(v, stable=True), stable=True).double() for v in (first, second)]
    if any(bool((v == v[0]).all()) for v in (first, second)):
        return 0.0
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def _share_of_nearest(
    queries: Sequence[Query], scores: Tensor, representations: NDArray[np.float32] | None
) -> float | None:
    if representations is None or len(scores) <= LISTED:
        return None
    mine = torch.cat([query.test_representation(query.final) for query in queries])
    theirs = torch.from_numpy(np.array(representations))
    similar = torch.stack([torch.nn.functional.cosine_similarity(theirs, one[None]) for one in mine]).mean(
        dim=0
    )
    nearest = set(similar.topk(LISTED).indices.tolist())
    strongest = set(scores.abs().topk(LISTED).indices.tolist())
    return len(nearest & strongest) / LISTED
