"""The correction study: how well each strategy fixes, by how the training examples for it are chosen.

After Schioppa et al. 2023: success rate and steps over all mispredictions; and, since nearly anything succeeds, what
each fix does to all other test predictions, next to examples chosen at random.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attribution.engine import Engine
from attribution.errors import NotFoundError, NumericalError, UsageError
from attribution.fixing import STRATEGIES, FixSettings
from attribution.fixing.strategies import ACTIONS
from attribution.methods import default_method, method_named
from attribution.progress import SILENT, Reporter
from attribution.projects import Edit, FixRecord, Project
from attribution.projects.files import write_text

FILE = Path("studies") / "correction.json"

MOST = 200
"""Mispredictions at most; of more, as many at even distances in the order of their loss."""

PEERS = ("tracin", "representation")
"""Methods beside the default one, where the project has what they need."""

RANDOM = ("random_same_class", "random")
"""Draws of training examples: of the class that the strategy takes its own from, and of any."""

ITSELF = "itself"
"""The selector of the strategy `test`, which takes no training example."""

OWN_CHOICE = "suggest"
"""The strategy that chooses by itself, from the first method's explanation: no other selector applies to it."""


@dataclass(frozen=True)
class Outcome:
    """One fix of one misprediction; what could not be tried changed nothing."""

    fixed: bool = False
    steps: int = 0
    accuracy_change: float = 0.0
    newly_fixed: int = 0
    newly_broken: int = 0

    @classmethod
    def of(cls, fix: FixRecord) -> Outcome:
        return cls(
            fix.fixed,
            fix.steps,
            fix.accuracy_after - fix.accuracy_before,
            len(fix.newly_fixed),
            len(fix.newly_broken),
        )


def correction_study(
    engine: Engine,
    *,
    methods: Sequence[str] | None = None,
    strategies: Sequence[str] = tuple(STRATEGIES),
    top: int = FixSettings.top,
    steps: int = FixSettings.steps,
    seed: int = FixSettings.seed,
    guard: int | None = FixSettings.guard,
    most: int = MOST,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Fix every misprediction by every strategy and selector; the result is stored under the project too.

    Args:
        methods: attribution methods that choose examples; the default one, tracin and representation if not given.
            Examples drawn at random are always among the selectors.
        most: mispredictions at most.

    Returns:
        By strategy and selector: ``success`` (a rate), ``median_steps`` of the successful, ``accuracy_change`` (a
        fraction), ``newly_fixed`` and ``newly_broken`` per fix, the standard errors of all means over mispredictions
        (``*_standard_error``), ``seconds`` per fix.

    Raises:
        NotFoundError: no such method.
        UsageError: the model makes no mistake.
    """
    wrong = _spread([row["id"] for row in engine.project.mispredictions()], most)
    if not wrong:
        raise UsageError("The model gets every test example right, so there is nothing to correct.")
    selectors = [*_methods(engine, methods), *RANDOM]
    able = {"test": [ITSELF], OWN_CHOICE: selectors[:1]}
    cells = [(s, selector) for s in strategies for selector in able.get(s, selectors)]
    table: dict[str, dict[str, Any]] = {strategy: {} for strategy in strategies}
    for number, (strategy, selector) in enumerate(cells):
        share = reporter.share(number / len(cells), (number + 1) / len(cells))
        started = time.perf_counter()
        outcomes = []
        for test_id in share.track(wrong, len(wrong), f"Fixing by {strategy}, examples by {selector}"):
            try:
                edits = _edits(engine, test_id, strategy, selector, top, seed)
                fix = engine.fix(
                    test_id,
                    strategy=strategy,
                    edits=edits,
                    method=selector if strategy == OWN_CHOICE else None,
                    steps=steps,
                    seed=seed,
                    guard=guard,
                    controls=False,
                    reporter=share.silent(),
                )
            except (UsageError, NumericalError):  # no example qualifies, or all steps diverge: not fixed
                outcomes.append(Outcome())
            else:
                outcomes.append(Outcome.of(fix))
        seconds = (time.perf_counter() - started) / len(wrong)
        table[strategy][selector] = {**_summary(outcomes), "seconds": seconds}
    result = {
        "strategies": table,
        "mispredictions": len(wrong),
        "test_examples": len(engine.project.predictions("test")),
        "top": top,
        "steps": steps,
        "seed": seed,
        "guard": guard,
    }
    write_text(engine.project.directory / FILE, json.dumps(result, indent=2) + "\n")
    return result


def _methods(engine: Engine, wanted: Sequence[str] | None) -> list[str]:
    if wanted is not None:
        return [method_named(name).info.name for name in wanted]
    names = dict.fromkeys([default_method(engine.facts), *PEERS])
    return [name for name in names if method_named(name).missing(engine.facts) is None]


def _spread(ids: Sequence[str], most: int) -> list[str]:
    if len(ids) <= most:
        return list(ids)
    return [ids[int(place)] for place in np.linspace(0, len(ids) - 1, most).round()]


def _edits(
    engine: Engine, test_id: str, strategy: str, selector: str, top: int, seed: int
) -> list[Edit] | None:
    if selector == ITSELF or strategy == OWN_CHOICE:
        return None
    if selector not in RANDOM:
        return engine.suggest(engine.explain(test_id, method=selector), strategy=strategy, top=top)
    return random_edits(
        engine.project, test_id, strategy, same_class=selector == "random_same_class", top=top, seed=seed
    )


def random_edits(
    project: Project, test_id: str, strategy: str, *, same_class: bool, top: int, seed: int
) -> list[Edit]:
    """What the strategy does, done with training examples drawn at random.

    With ``same_class`` they are of the class that the strategy would mostly choose: the true one for helpers, the
    predicted one for culprits.

    Raises:
        NotFoundError: no such test example or strategy.
        UsageError: no training example has the class.
    """
    if strategy not in ACTIONS:
        raise NotFoundError(f"The strategy '{strategy}' takes no training examples: choose another one.")
    position = project.position("test", test_id)
    row = project.predictions("test").iloc[position]
    true, predicted = int(row["label"]), int(row["predicted"])
    table = project.predictions("train")
    labels = table["label"].to_numpy()
    action = ACTIONS[strategy]
    if same_class:
        pool = np.flatnonzero(labels == (true if strategy == "helpers" else predicted))
    else:
        pool = np.flatnonzero(labels != true) if action == "relabel" else np.arange(len(labels))
    if not len(pool):
        raise UsageError(f"No training example can be drawn for '{test_id}': its class has none.")
    drawn = np.random.default_rng([seed, position]).choice(pool, size=min(top, len(pool)), replace=False)
    label = project.class_names[true] if action == "relabel" else None
    return [Edit(train_id=str(table.index[int(p)]), action=action, label=label) for p in drawn]


def _summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    steps = [outcome.steps for outcome in outcomes if outcome.fixed]
    result: dict[str, Any] = {"median_steps": float(np.median(steps)) if steps else None}
    columns = {
        "success": [float(outcome.fixed) for outcome in outcomes],
        "accuracy_change": [outcome.accuracy_change for outcome in outcomes],
        "newly_fixed": [float(outcome.newly_fixed) for outcome in outcomes],
        "newly_broken": [float(outcome.newly_broken) for outcome in outcomes],
    }
    for name, values in columns.items():
        result[name] = float(np.mean(values))
        result[f"{name}_standard_error"] = _standard_error(values)
    return result


def _standard_error(values: Sequence[float]) -> float | None:
    """Of the mean; None of a single value."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
