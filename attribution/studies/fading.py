"""The fading study: for how many further steps of training an explanation foretells what an example does.

Schioppa et al. 2023, "Theoretical and Practical Perspectives on What Influence Functions Do": training goes on from the
model with one training example weighted a little more, and a little less; the difference is what the example really
does after so many steps. Scores foretell it well at first, and worse and worse as the two models part.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from attribution.batches import evaluation_copy
from attribution.engine import Engine
from attribution.errors import MissingRequirementError, UsageError
from attribution.fixing.baselines import retrained_from
from attribution.fixing.optimization import Optimization
from attribution.learning_rates import rates_of_steps
from attribution.methods import default_method
from attribution.progress import SILENT, Reporter
from attribution.projects.files import write_text
from attribution.projects.ledger import Ledger
from attribution.projects.study_records import BELIEVABLE, FADING
from attribution.studies.asked import measured, methods_asked, query_ids
from attribution.studies.kept import keep_arrays, kept_arrays
from attribution.studies.nudges import Continuation, Effect, effect_of, nudge_for

FOLDER = "fading"
"""Within the prepared directory, which goes when model or data change."""

STEPS, EXAMPLES, QUERIES = 400, 20, 10
"""Further steps of training, training examples that are nudged, and test examples that are looked at."""

FEWEST = 5
"""Nudged examples with fewer of which a correlation says nothing."""

LOOKS = (1, 2, 5, 10, 20, 50, 100, 200, 400, 800, 1600, 3200)
"""Steps after which it is looked."""

METHODS = ("ekfac", "tracin", "grad_dot", "random")
"""Methods beside the default one, where the project has what they need."""


def fading_study(
    engine: Engine,
    *,
    methods: Sequence[str] | None = None,
    measurement: str = "margin",
    steps: int = STEPS,
    examples: int = EXAMPLES,
    queries: int = QUERIES,
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Measure how the foresight of scores fades; the result is stored under the project too.

    Training goes on as the record says, at the mean learning rate of the run. Half of the nudged examples are those
    with the largest scores by the default method, half are drawn at random.

    Args:
        methods: the default one, three gradient methods and random scores, if not given.
        steps: further steps of training.
        examples: training examples that are nudged, one at a time.
        queries: test examples, mispredictions first.
        seed: of the batches and of all that is drawn.

    Returns:
        ``steps``, those after which it was looked; by method ``pearson`` and ``spearman`` correlation over the nudged
        examples between score and effect after each of them, means over test examples, and ``standard_error`` of the
        former; ``holds_until``, the last step up to which its mean Pearson correlation is at least `BELIEVABLE` (None
        where it is below from the first); ``divergence``, how far the two models' parameters are apart over 2ε,
        median over examples; and what it was measured on.

    Raises:
        UsageError: fewer than `FEWEST` examples, or no step or test example.
        NotFoundError: no such method or measurement.
        MissingRequirementError: a method cannot run here, or the record lacks the learning rate or the steps.
        NumericalError: training diverged, or a score is not finite.
        ProjectError: the folder cannot be written.
        Cancelled: the user asked for a stop; examples that are done are kept.
    """
    if examples < FEWEST or steps < 1 or queries < 1:
        raise UsageError(
            f"Fading needs at least {FEWEST} training examples to nudge, one step and one test example."
        )
    names = methods_asked(engine, methods, METHODS)
    ids = query_ids(engine, queries, seed)
    positions = [engine.project.position("test", one) for one in ids]
    scores = {}
    for number, name in enumerate(names):
        share = reporter.share(0.1 * number / len(names), 0.1 * (number + 1) / len(names))
        share(0.0, f"Scoring by {name}")
        scores[name] = engine.scores(ids, method=name, measurement=measurement, reporter=share.silent())
    strong = engine.scores(ids, method=default_method(engine.facts), measurement=measurement)
    nudged = chosen_examples(strong, examples, seed)
    at_steps = [*(step for step in LOOKS if step < steps), steps]
    effects, learning_rate = _effects(engine, nudged, positions, at_steps, seed, reporter.share(0.1, 1.0))
    real = _real(engine, positions, measurement, effects)
    found = {name: agreement(scores[name][:, nudged].astype(np.float64), real) for name in names}
    train_ids = engine.project.predictions("train").index
    apart = np.median([effect.distance for effect in effects], axis=0)
    nudge = nudge_for(engine.task.size("train"))
    result = {
        "steps": at_steps,
        "methods": found,
        "holds_until": {name: holds_until(at_steps, row["pearson"]) for name, row in found.items()},
        "divergence": (apart / (2 * nudge)).tolist(),
        "train_ids": [str(train_ids[position]) for position in nudged],
        "test_ids": ids,
        "measurement": measurement,
        "learning_rate": learning_rate,
        "nudge": nudge,
        "seed": seed,
        "prepared_from": engine.project.prepared_from,
    }
    write_text(engine.project.directory / FADING, json.dumps(result, indent=2) + "\n")
    return result


def chosen_examples(scores: NDArray[np.floating], count: int, seed: int) -> list[int]:
    """Positions of training examples: half with the largest absolute scores (Q, N) of all, half at random."""
    largest = np.abs(scores).max(axis=0)
    count = min(count, len(largest))
    strongest = np.argsort(-largest, kind="stable")[: (count + 1) // 2]
    others = np.setdiff1d(np.arange(len(largest)), strongest)
    drawn = np.random.default_rng([seed, 4]).permutation(others)[: count - len(strongest)]
    return [int(position) for position in (*strongest, *drawn)]


def agreement(scores: NDArray[np.float64], real: NDArray[np.float64]) -> dict[str, list[float]]:
    """Correlations over examples, means over queries, after each look.

    Args:
        scores: (Q, n).
        real: effects (T, Q, n).
    """
    pearson = correlations(scores, real)
    spearman = correlations(rankdata(scores, axis=-1), rankdata(real, axis=-1))
    queries = pearson.shape[1]
    error = pearson.std(axis=1, ddof=1) / np.sqrt(queries) if queries > 1 else np.zeros(len(pearson))
    return {
        "pearson": pearson.mean(axis=1).tolist(),
        "standard_error": error.tolist(),
        "spearman": spearman.mean(axis=1).tolist(),
    }


def correlations(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's over the last axis of two arrays, broadcast; 0 where one of them does not vary."""
    mine, theirs = (values - values.mean(axis=-1, keepdims=True) for values in (first, second))
    norms = np.sqrt((mine**2).sum(axis=-1) * (theirs**2).sum(axis=-1))
    products = (mine * theirs).sum(axis=-1)
    found: NDArray[np.float64] = np.zeros(products.shape)
    np.divide(products, norms, out=found, where=norms > 0)
    return found


def holds_until(steps: Sequence[int], pearson: Sequence[float]) -> int | None:
    """The last of the steps up to which all correlations are at least `BELIEVABLE`."""
    held = None
    for step, value in zip(steps, pearson, strict=True):
        if value < BELIEVABLE:
            break
        held = step
    return held


def _effects(
    engine: Engine,
    nudged: Sequence[int],
    queries: Sequence[int],
    at_steps: Sequence[int],
    seed: int,
    reporter: Reporter,
) -> tuple[list[Effect], float]:
    """What each example does, and the learning rate; what is stored from before is not computed again."""
    task, project = engine.task, engine.project
    rates = rates_of_steps(task, 1, task.steps or (task.checkpoints[-1].step if task.checkpoints else 1))
    if rates is None:
        raise MissingRequirementError(
            "Training cannot go on from this model, because its record does not say the learning rate: give "
            "learning_rate= in the Task or project.json."
        )
    learning_rate = float(rates.mean())
    moments = task.checkpoints[-1].corrected_moments(task.betas[1]) if task.checkpoints else None
    model, nudge = evaluation_copy(task, engine.device), nudge_for(task.size("train"))
    going_on = Continuation(
        task, model, Optimization.of(task, moments), learning_rate, nudge, task.batch_size, seed
    )
    arguments = {
        **retrained_from(project, engine.device),
        "queries": list(queries),
        "steps": list(at_steps),
        "learning_rate": learning_rate,
        "seed": seed,
        "nudge": nudge,
    }
    ledger = Ledger.resumed(project.prepared_directory / FOLDER, arguments)
    found = []
    for number, position in enumerate(nudged):
        name = f"example-{position}.npz"
        if name not in ledger.files:
            effect = effect_of(
                going_on,
                position,
                queries,
                at_steps,
                device=engine.device,
                reporter=reporter.share(number / len(nudged), (number + 1) / len(nudged)),
                message=f"Training on with and without example {number + 1} of {len(nudged)}",
            )
            keep_arrays(ledger, name, logits=effect.logits, distance=effect.distance)
        stored = kept_arrays(ledger, name)
        found.append(Effect(stored["logits"], stored["distance"]))
    return found, learning_rate


def _real(
    engine: Engine, positions: Sequence[int], measurement: str, effects: Sequence[Effect]
) -> NDArray[np.float64]:
    """Change of the measurements per weight of the example, (T, Q, n)."""
    each = [measured(engine, positions, measurement, effect.logits) for effect in effects]
    changes = [(more - less) / (2 * nudge_for(engine.task.size("train"))) for less, more in each]
    return np.stack(changes, axis=-1)
