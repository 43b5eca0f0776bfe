"""The correction study: how well each strategy fixes, by how the training examples for it are chosen.

After Schioppa et al. 2023: success rate and steps over all mispredictions; and, since nearly anything succeeds, what
each fix does to all other test predictions, next to examples chosen at random.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from attribution.engine import Engine
from attribution.errors import NotFoundError, NumericalError, UsageError
from attribution.explanation import Explanation
from attribution.fixing import STRATEGIES, FixSettings
from attribution.fixing.strategies import ACTIONS
from attribution.progress import SILENT, Reporter
from attribution.projects import Edit, Project
from attribution.projects.files import write_text
from attribution.projects.study_records import CORRECTION
from attribution.studies.asked import evenly, methods_asked
from attribution.studies.outcomes import Outcome, Outcomes
from attribution.studies.summary import difference, summary

OUTCOMES = Path("studies") / "correction.outcomes.jsonl"

MOST = 200
"""Mispredictions at most; of more, as many at even distances in the order of their loss."""

FIXING = 2
"""Goes up when the steps of a fix change by more than rounding: outcomes of before are then made anew."""

PEERS = ("tracin", "representation")
"""Methods beside the default one, where the project has what they need."""

RANDOM = ("random_same_class", "random")
"""Draws of training examples: of the class that the strategy takes its own from, and of any."""

ITSELF = "itself"
"""The selector of the strategy `test`, which takes no training example."""

OWN_CHOICE = "suggest"
"""The strategy that chooses by itself, from the first method's explanation: no other selector applies to it."""


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

    Each outcome is kept as soon as it is there: the same study begun again goes on where it was stopped, and one of
    more mispredictions takes over those of fewer.

    Args:
        methods: attribution methods that choose examples; the default one, tracin and representation if not given.
            Examples drawn at random are always among the selectors.
        most: mispredictions at most.

    Returns:
        By strategy and selector what `attribution.studies.summary.summary` says; in ``differences`` by strategy and by
        every other selector what the first one does less, on the same mispredictions.

    Raises:
        NotFoundError: no such method.
        UsageError: the model makes no mistake.
        ProjectError: an outcome cannot be stored.
    """
    wrong = [row["id"] for row in engine.project.mispredictions()]
    if not wrong:
        raise UsageError("The model gets every test example right, so there is nothing to correct.")
    tried = [wrong[place] for place in evenly(len(wrong), most)]
    selectors = [*methods_asked(engine, methods, PEERS), *RANDOM]
    able = {"test": [ITSELF], OWN_CHOICE: selectors[:1]}
    cells = [(s, selector) for s in strategies for selector in able.get(s, selectors)]
    recipe = {"top": top, "steps": steps, "seed": seed, "guard": guard}
    known = Outcomes(engine.project.directory / OUTCOMES, {**recipe, **_made_from(engine)})
    found: dict[tuple[str, str], list[Outcome]] = {cell: [] for cell in cells}
    for number, test_id in enumerate(
        reporter.track(tried, len(tried), "Fixing by every strategy and selector")
    ):
        share = reporter.share(number / len(tried), (number + 1) / len(tried)).silent()
        trial = _Trial(engine, test_id, recipe, share)
        for strategy, selector in cells:
            found[strategy, selector].append(
                known.get(strategy, selector, test_id, trial.of(strategy, selector))
            )
    table: dict[str, dict[str, Any]] = {strategy: {} for strategy in strategies}
    differences: dict[str, dict[str, Any]] = {strategy: {} for strategy in strategies}
    for (strategy, selector), outcomes in found.items():
        table[strategy][selector] = summary(outcomes)
        first = found.get((strategy, selectors[0]))
        if first is not None and selector != selectors[0]:
            differences[strategy][selector] = difference(first, outcomes)
    result = {
        "strategies": table,
        "differences": {strategy: found for strategy, found in differences.items() if found},
        "mispredictions": len(tried),
        "test_examples": len(engine.project.predictions("test")),
        **recipe,
        "prepared_from": engine.project.prepared_from,
    }
    write_text(engine.project.directory / CORRECTION, json.dumps(result, indent=2) + "\n")
    return result


def _made_from(engine: Engine) -> dict[str, Any]:
    """What outcomes depend on beside the recipe: model and data, as they were prepared, and where they were made."""
    record = engine.project.preparation
    prepared = {name: record[name] for name in ("format", "recipe", "sources")}
    return {**prepared, "device": str(engine.device), "fixing": FIXING}


class _Trial:
    """Fixes of one misprediction; each method explains it once, and what two selectors agree on is done once."""

    def __init__(self, engine: Engine, test_id: str, recipe: dict[str, Any], reporter: Reporter) -> None:
        self._engine, self._test_id, self._recipe, self._reporter = engine, test_id, recipe, reporter
        self._explanations: dict[str, Explanation] = {}
        self._done: dict[tuple[str, object], Outcome] = {}

    def of(self, strategy: str, selector: str) -> Callable[[], Outcome]:
        """What makes the outcome of a strategy with examples by a selector."""
        return partial(self._run, strategy, selector)

    def _run(self, strategy: str, selector: str) -> Outcome:
        started = time.perf_counter()
        try:
            edits = self._edits(strategy, selector)
        except UsageError:  # no example qualifies: not fixed
            return Outcome(seconds=time.perf_counter() - started)
        choosing = time.perf_counter() - started
        same = (strategy, selector if edits is None else tuple((e.train_id, e.label) for e in edits))
        if same not in self._done:
            self._done[same] = self._fixed(strategy, selector, edits)
        outcome = self._done[same]
        return replace(outcome, seconds=choosing + outcome.seconds)

    def _fixed(self, strategy: str, selector: str, edits: list[Edit] | None) -> Outcome:
        started = time.perf_counter()
        try:
            fix = self._engine.fix(
                self._test_id,
                strategy=strategy,
                edits=edits,
                method=selector if strategy == OWN_CHOICE else None,
                steps=self._recipe["steps"],
                seed=self._recipe["seed"],
                guard=self._recipe["guard"],
                controls=False,
                reporter=self._reporter,
            )
        except (UsageError, NumericalError):  # nothing to unlearn, or all steps diverge: not fixed
            return Outcome(seconds=time.perf_counter() - started)
        return Outcome.of(fix, time.perf_counter() - started)

    def _edits(self, strategy: str, selector: str) -> list[Edit] | None:
        if selector == ITSELF or strategy == OWN_CHOICE:
            return None
        top, seed = self._recipe["top"], self._recipe["seed"]
        if selector in RANDOM:
            same = selector == "random_same_class"
            return random_edits(
                self._engine.project, self._test_id, strategy, same_class=same, top=top, seed=seed
            )
        if selector not in self._explanations:
            self._explanations[selector] = self._engine.explain(self._test_id, method=selector)
        return self._engine.suggest(self._explanations[selector], strategy=strategy, top=top)


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
