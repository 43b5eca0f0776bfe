"""From queries to an explanation: scores by the index, then the strongest of them once more, exactly."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attribution.errors import NumericalError
from attribution.explanation import Explanation
from attribution.methods import Method, SummedMethod
from attribution.query import Query
from attribution.runs import Run
from attribution.trust import trust_of

RERANKED = 200
"""Strongest examples, half of each sign, that are scored again exactly where the index leaves something out."""


def explained(
    run: Run,
    method: Method,
    queries: Sequence[Query],
    example: dict[str, Any],
    measurement: str,
    preliminary: Callable[[Explanation], None] | None = None,
    *,
    of_later_stage: bool = False,
) -> Explanation:
    """The explanation of a test example by the training data of a run.

    Args:
        run: the one whose data are scored, and whose index the first query asks.
        queries: the same question, to each of the models that it is asked of.
        example: as `Project.example` describes it.
        measurement: its name.
        preliminary: called with the explanation as the index alone gives it.
        of_later_stage: whether the test example belongs to a later stage of training: it has no representation here.

    Raises:
        NumericalError: a score is NaN or infinite.
    """
    started = time.perf_counter()
    query = queries[0]
    parts, scores = _scored(method, queries)
    check_scores(scores, method, example["id"])
    query_seconds = time.perf_counter() - started

    def explanation(scores: Tensor, exact: bool) -> Explanation:
        return Explanation(
            project=run.project,
            example=example,
            method=method.info.name,
            measurement=measurement,
            measurement_words=query.targets[0].measurement.words,
            scores=scores.to(torch.float32).numpy(),
            seconds={"query": query_seconds, "total": time.perf_counter() - started},
            trust=trust_of(
                method,
                queries,
                scores,
                parts,
                exact=exact,
                # The test example of a later stage has no representation here.
                representations=None if of_later_stage else run.representations(),
            ),
            representations=run.representations(),
        )

    exact = not method.from_gradients or not query.use_index or run.loaded.index.exact
    if exact:
        return explanation(scores, True)
    if preliminary is not None:
        preliminary(explanation(scores, False))
    best = strongest(scores, RERANKED)
    scores = scores.clone()
    scores[best] = method.averaged([q.restricted(best.tolist()) for q in queries])[0]
    check_scores(scores, method, example["id"])
    return explanation(scores, False)


def _scored(method: Method, queries: Sequence[Query]) -> tuple[Tensor | None, Tensor]:
    """The parts (parts, N) that scores are made of, by model or by checkpoint, and the scores (N,) themselves."""
    if len(queries) > 1:
        each = torch.stack([method.scores(query)[0] for query in queries])
        plain = type(method).averaged is Method.averaged
        return each, each.mean(dim=0) if plain else method.averaged(queries)[0]
    if isinstance(method, SummedMethod):
        parts = method.parts(queries[0])[:, 0]
        return parts, parts.sum(dim=0)
    return None, method.scores(queries[0])[0]


def strongest(scores: Tensor, count: int) -> Tensor:
    """Positions of the ``count`` strongest scores, half of each sign."""
    half = min(count // 2, len(scores))
    both_ends = torch.cat([scores.topk(half).indices, (-scores).topk(half).indices])
    return both_ends[torch.argsort(both_ends)] if half * 2 <= len(scores) else torch.arange(len(scores))


def check_scores(scores: Tensor, method: Method, asked: str) -> None:
    """Raise `NumericalError` where a score is NaN or infinite.

    Args:
        asked: the test examples that were asked about, for the message.
    """
    if not bool(torch.isfinite(scores).all()):
        raise NumericalError(
            f"The method '{method.info.name}' gave scores that are not finite for example '{asked}': "
            "try another method, or check the model for NaN weights."
        )
