"""The LDS study: how well each method foretells what training without some of the data does (Park et al. 2023).

For random halves S of the training data models are trained again. The linear datamodeling score of a test example is
the rank correlation, over the halves, of Σ_{i∈S} score_i with the mean measurement of the models trained on S.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from attribution.engine import Engine
from attribution.errors import UsageError
from attribution.progress import SILENT, Reporter
from attribution.projects.files import write_text
from attribution.projects.lds_record import FILE
from attribution.studies.asked import measured, methods_asked, query_ids
from attribution.studies.halves import retrained_on_halves

SUBSETS, SEEDS, QUERIES = 50, 2, 20
"""Random halves, models of each, and test examples."""

FEWEST = 5
"""Halves with fewer of which a rank correlation says nothing."""

METHODS = ("ekfac", "source", "tracin", "grad_dot", "representation", "random")
"""Methods beside the default one, where the project has what they need."""


def lds_study(
    engine: Engine,
    *,
    methods: Sequence[str] | None = None,
    measurement: str = "margin",
    subsets: int = SUBSETS,
    seeds: int = SEEDS,
    queries: int = QUERIES,
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Measure methods against retraining; the result is stored under the project too.

    Args:
        methods: all but the costly ones that the project has what is needed for, if not given.
        subsets: random halves of the training data.
        seeds: models trained on each half, whose measurements are averaged.
        queries: test examples, mispredictions first, at even distances in the order of their loss.
        seed: of the halves and of the choice of test examples that are predicted right.

    Returns:
        By method ``lds``, its ``standard_error`` over test examples and the ``seconds`` that scoring all of them took;
        ``ceiling``, what a perfect prediction would reach with so many seeds (None of a single one); ``from_step``, the
        step of the run that the models start from (0 is its beginning); and what it was measured on.

    Raises:
        UsageError: fewer than `FEWEST` halves, or no seed or test example.
        NotFoundError: no such method or measurement.
        MissingRequirementError: a method cannot run here, or the training record lacks something.
        NumericalError: training diverged, or a score is not finite.
        ProjectError: the folder cannot be written.
        Cancelled: the user asked for a stop; models that are trained are kept.
    """
    if subsets < FEWEST or seeds < 1 or queries < 1:
        raise UsageError(
            f"An LDS needs at least {FEWEST} halves of the training data, one seed and one test example."
        )
    names = methods_asked(engine, methods, METHODS)
    ids = query_ids(engine, queries, seed)
    positions = [engine.project.position("test", one) for one in ids]
    halves = retrained_on_halves(
        engine.project,
        engine.task,
        positions,
        subsets=subsets,
        seeds=seeds,
        seed=seed,
        device=engine.device,
        reporter=reporter.share(0.0, 0.9),
    )
    real = measured(engine, positions, measurement, halves.logits)
    found: dict[str, dict[str, float]] = {}
    for number, name in enumerate(names):
        share = reporter.share(0.9 + 0.1 * number / len(names), 0.9 + 0.1 * (number + 1) / len(names))
        share(0.0, f"Scoring by {name}")
        engine.scores(ids[:1], method=name, measurement=measurement, reporter=share.silent())  # prepares it
        started = time.perf_counter()
        scores = engine.scores(ids, method=name, measurement=measurement, reporter=share.silent())
        seconds = time.perf_counter() - started
        marks = rank_correlations(real.mean(axis=1), halves.members.astype(np.float64) @ scores.T)
        found[name] = {
            "lds": float(marks.mean()),
            "standard_error": float(marks.std(ddof=1) / np.sqrt(len(marks))) if len(marks) > 1 else 0.0,
            "seconds": seconds,
        }
    result = {
        "methods": found,
        "subsets": subsets,
        "seeds": seeds,
        "ceiling": ceiling(real),
        "measurement": measurement,
        "test_ids": ids,
        "from_step": halves.from_step,
        "seed": seed,
        "prepared_from": engine.project.prepared_from,
    }
    write_text(engine.project.directory / FILE, json.dumps(result, indent=2) + "\n")
    return result


def rank_correlations(real: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's correlation of each column of two tables (subsets, Q); 0 where one of them does not vary."""
    ranks = [rankdata(values, axis=0) for values in (real, predicted)]
    first, second = (r - r.mean(axis=0) for r in ranks)
    norms = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    found: NDArray[np.float64] = np.zeros(len(norms))
    np.divide((first * second).sum(axis=0), norms, out=found, where=norms > 0)
    return found


def ceiling(real: NDArray[np.float64]) -> float | None:
    """What the rank correlation with the mean over seeds would be for who knew what training does on average.

    The square root of that mean's reliability, by Spearman and Brown from the mean correlation of two single seeds.

    Args:
        real: measurements (subsets, seeds, Q).
    """
    seeds = real.shape[1]
    if seeds < 2:
        return None
    pairs = [rank_correlations(real[:, a], real[:, b]).mean() for a, b in combinations(range(seeds), 2)]
    single = max(float(np.mean(pairs)), 0.0)
    return float(np.sqrt(seeds * single / (1 + (seeds - 1) * single)))
