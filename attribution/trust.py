"""The trust line: what is cheap to know about how far an explanation can be believed, in numbers and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attribution.methods import Method
from attribution.projects.lds_record import LdsRecord, MethodFidelity
from attribution.query import Query

LISTED = 20

POOL, PROBES = 4000, 128
"""Training examples among which nearest ones are looked for, and of how many of them: enough for a rough share."""

UNUSUAL = 0.05
"""Where no larger share of training examples is as far from its nearest one, a test example is unlike them."""


def trust_of(
    method: Method,
    portions: Sequence[Sequence[Query]],
    scores: Tensor,
    parts: Tensor | None,
    *,
    exact: bool,
    representations: NDArray[np.float32] | None,
    study: LdsRecord | str | None = None,
) -> dict[str, Any]:
    """Signals about one explanation, which one or several models were asked for, of one or several test examples.

    ``checkpoint_agreement``: mean Spearman rank correlation between the scores of single checkpoints and of all
    the others together; ``model_agreement``: the same of the models of an ensemble; ``share_of_nearest``: share of
    the 20 strongest examples that are also among the 20 nearest by representation; ``familiarity``: share of training
    examples that are at least as far from their nearest other one as the test example is from its nearest (of several
    the least); ``residual``: of an iterative solve, relative; ``exact``: whether all scores come from whole gradients;
    ``lds``: what a ``study`` of this project measured of the method, else None (a text says why there is none);
    ``sentence``.
    """
    agreement = _agreement(parts)
    mine = None if representations is None else _representations([queries[0] for queries in portions])
    share = _share_of_nearest(mine, scores, representations)
    familiar = _familiarity(mine, representations)
    measured = study.methods.get(method.info.name) if isinstance(study, LdsRecord) else None
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
    if familiar is not None and familiar <= UNUSUAL:
        words.append(
            f"This example is unlike the training data: only {familiar:.0%} of training examples are as far from their "
            "nearest one."
        )
    if residual is not None:
        words.append(f"The curvature was inverted to a relative residual of {residual:.1e}.")
    if not method.info.calibrated:
        words.append("Scores rank examples; their size has no unit.")
    if not exact:
        words.append("The list is exact; scores far from the top leave a part of the gradients out.")
    words.append(_fidelity(measured, study))
    return {
        "checkpoint_agreement": None if ensemble else agreement,
        "model_agreement": agreement if ensemble else None,
        "share_of_nearest": share,
        "familiarity": familiar,
        "lds": None if measured is None else measured.lds,
        "residual": residual,
        "exact": exact,
        "sentence": " ".join(words),
    }


def _fidelity(measured: MethodFidelity | None, study: LdsRecord | str | None) -> str:
    if measured is not None:
        return f"Against retraining, measured in this project: LDS {measured.lds:.2f} ± {measured.standard_error:.2f}."
    if isinstance(study, str):
        return f"Its fidelity against retraining cannot be told: {study}"
    return "Fidelity against retraining is not measured yet for this project."


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


def _representations(queries: Sequence[Query]) -> Tensor:
    """Of the test examples that were asked for, (Q, D)."""
    return torch.cat([query.test_representation(query.final) for query in queries])


def _share_of_nearest(
    mine: Tensor | None, scores: Tensor, representations: NDArray[np.float32] | None
) -> float | None:
    if mine is None or representations is None or len(scores) <= LISTED:
        return None
    theirs = torch.from_numpy(np.array(representations))
    similar = torch.stack([torch.nn.functional.cosine_similarity(theirs, one[None]) for one in mine]).mean(
        dim=0
    )
    nearest = set(similar.topk(LISTED).indices.tolist())
    strongest = set(scores.abs().topk(LISTED).indices.tolist())
    return len(nearest & strongest) / LISTED


def _familiarity(mine: Tensor | None, representations: NDArray[np.float32] | None) -> float | None:
    """Share of training examples at least as far from their nearest other one as the farthest of ``mine`` (Q, D)."""
    if mine is None or representations is None or len(representations) <= LISTED:
        return None
    drawn = np.random.default_rng(0).permutation(len(representations))[:POOL]
    pool = torch.nn.functional.normalize(torch.from_numpy(np.array(representations[np.sort(drawn)])), dim=1)
    probes = pool[torch.linspace(0, len(pool) - 1, min(PROBES, len(pool))).long()]
    # The nearest one of a training example is itself; the second nearest counts.
    usual = (probes @ pool.T).topk(2, dim=1).values[:, 1]
    own = (torch.nn.functional.normalize(mine.to(pool), dim=1) @ pool.T).amax(dim=1).min()
    return float((usual <= own).double().mean())
