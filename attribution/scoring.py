"""From queries to an explanation: scores by the index, then the strongest of them once more, exactly."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attribution.errors import NumericalError, ProjectError
from attribution.explanation import Explanation
from attribution.methods import Method, SummedMethod
from attribution.projects import Project
from attribution.projects.lds_record import LdsRecord, read_lds
from attribution.query import Query
from attribution.runs import Run
from attribution.trust import trust_of

RERANKED = 200
"""Strongest examples, half of each sign, that are scored again exactly where the index leaves something out."""


def explained(
    run: Run,
    method: Method,
    portions: Sequence[Sequence[Query]],
    examples: Sequence[dict[str, Any]],
    measurement: str,
    preliminary: Callable[[Explanation], None] | None = None,
    *,
    of_later_stage: bool = False,
) -> Explanation:
    """The explanation of a test example, or of several together, by the training data of a run.

    Several are explained by the mean of their scores. What is scored again exactly are the strongest of that mean.

    Args:
        run: the one whose data are scored, and whose index the first query asks.
        portions: the test examples a few at a time; of each portion the same question to each of the models that it is
            asked of.
        examples: all test examples, as `Project.example` describes them.
        measurement: its name.
        preliminary: called with the explanation as the index alone gives it.
        of_later_stage: whether the test example belongs to a later stage of training: it has no representation here.

    Raises:
        NumericalError: a score is NaN or infinite.
    """
    started = time.perf_counter()
    query = portions[0][0]
    asked = ", ".join(str(example["id"]) for example in examples[:3])
    parts, each = _scored(method, portions)
    check_scores(each, method, asked)
    query_seconds = time.perf_counter() - started
    each_in_words = {t.measurement.words for queries in portions for t in queries[0].targets}
    words = each_in_words.pop() if len(each_in_words) == 1 else f"the mean {measurement}"

    def explanation(each: Tensor, exact: bool) -> Explanation:
        scores = each.mean(dim=0)
        return Explanation(
            project=run.project,
            example=examples[0],
            method=method.info.name,
            measurement=measurement,
            measurement_words=words,
            scores=scores.to(torch.float32).numpy(),
            seconds={"query": query_seconds, "total": time.perf_counter() - started},
            trust=trust_of(
                method,
                portions,
                scores,
                parts,
                exact=exact,
                # The test example of a later stage has no representation here.
                representations=None if of_later_stage else run.representations(),
                study=_study(run.project),
            ),
            representations=run.representations(),
            others=list(examples[1:]),
            each=each.to(torch.float32).numpy() if len(examples) > 1 else None,
            held_out=run.held_out(query.reporter),
        )

    exact = not method.from_gradients or not query.use_index or run.loaded.index.exact
    if exact:
        return explanation(each, True)
    if preliminary is not None:
        preliminary(explanation(each, False))
    best = strongest(each.mean(dim=0), RERANKED)
    each = each.clone()
    again = [method.averaged([q.restricted(best.tolist()) for q in queries]) for queries in portions]
    each[:, best] = torch.cat(again)
    check_scores(each, method, asked)
    return explanation(each, False)


def _study(project: Project) -> LdsRecord | str | None:
    """What was measured in the project; why it cannot be read, if it cannot: an explanation does not hang on it."""
    try:
        return read_lds(project.directory, project.prepared_from)
    except ProjectError as error:
        return str(error)


def _scored(method: Method, portions: Sequence[Sequence[Query]]) -> tuple[Tensor | None, Tensor]:
    """The parts (parts, N) that mean scores are made of, by model or by checkpoint, and the scores (Q, N) of each."""
    found = [_scored_portion(method, queries) for queries in portions]
    each = torch.cat([scores for _, scores in found])
    parts = [part for part, _ in found if part is not None]
    return torch.cat(parts, dim=1).mean(dim=1) if parts else None, each


def _scored_portion(method: Method, queries: Sequence[Query]) -> tuple[Tensor | None, Tensor]:
    """Parts (parts, Q, N) and scores (Q, N)."""
    if len(queries) > 1:
        parts = torch.stack([method.scores(query) for query in queries])
        plain = type(method).averaged is Method.averaged
        return parts, parts.mean(dim=0) if plain else method.averaged(queries)
    if isinstance(method, SummedMethod):
        parts = method.parts(queries[0])
        return parts, parts.sum(dim=0)
    return None, method.scores(queries[0])


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
