"""Do models retrained with the edits of a fix change as predicted, and more than with random edits?

For every misprediction of the `digits` sample and every way of suggesting edits (`SUGGESTIONS`): the change of the
margin that attribution predicts, and that of models retrained from the recorded recipe with the edits and without, the
seeds being the same. Beside each set a random one of the same size, classes and actions. Prints, and writes to
docs/verify.json.

    python tests/benchmarks/verify_figures.py [--seeds 10]

All models of a seed are trained at once, as one batched computation; some are trained by `attribution.retraining` too,
and the largest difference of a margin is part of the result.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[2]))

from attribution import Engine
from attribution.batch_order import shuffled_batches
from attribution.fixing.controls import control_sets
from attribution.fixing.predicted_change import Predictor
from attribution.fixing.treatment import Treatment
from attribution.fixing.verify import SEEDS, change_of, data_changes, mean_margin
from attribution.methods import DirectionalMethod, method_named
from attribution.predictions import predict
from attribution.progress import SILENT
from attribution.projects import Edit
from attribution.query import Target
from attribution.retraining import NO_CHANGES, DataChanges, TrainingRecipe, initial_weights, retrain
from dashboard.opening import open_prepared
from dashboard.views.verification import judgement
from tests.benchmarks.lds.training import forward

METHODS = {
    "path, refined": ("path", True),
    "ekfac, refined": ("ekfac", True),
    "path": ("path", False),
    "ekfac": ("ekfac", False),
    "source": ("source", False),
}
"""Methods that predict, and whether their curvature is refined; the first is what verifying a fix uses here."""

TOP = 10
DRAWS = 2000
CHECKED = 3
"""Sets that are retrained by `attribution.retraining` too."""

OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "verify.json"

Suggestion = Callable[[Engine, str], list[Edit]]
"""(engine, test id) -> edits; empty where it has none."""


def by_strategy(strategy: str, top: int = TOP) -> Suggestion:
    """What a strategy proposes from the default method's explanation."""
    return lambda engine, test_id: engine.suggest(engine.explain(test_id), strategy=strategy, top=top)


def suspected(engine: Engine, test_id: str) -> list[Edit]:
    """Those of the strongest culprits that look mislabelled, relabelled to what they look like."""
    cards = engine.explain(test_id).culprits(2 * TOP)
    return [
        Edit(train_id=card["id"], action="relabel", label=card["suggested_label"])
        for card in cards
        if card["suspected_label_error"]
    ]


SUGGESTIONS: dict[str, Suggestion] = {
    "helpers": by_strategy("helpers"),
    "remove": by_strategy("remove"),
    "relabel": by_strategy("relabel"),
    "suspected": suspected,
    "suggest": lambda engine, test_id: engine.propose(test_id).edits,
}
"""Ways of suggesting a set, by name."""


@dataclass(frozen=True)
class Case:
    """A suggested set for a misprediction, and its random counterpart."""

    test_id: str
    name: str
    target: Target
    suggested: Treatment
    random: Treatment


def cases_of(engine: Engine) -> list[Case]:
    """Every misprediction with every way of suggesting edits that finds some."""
    project = engine.project
    labels = project.predictions("train")["label"].to_numpy()
    found = []
    for number, wrong in enumerate(project.mispredictions()):
        target = engine._target(wrong["id"], "margin")
        for name, suggestion in SUGGESTIONS.items():
            edits = suggestion(engine, wrong["id"])
            if not edits:
                continue
            treatment = Treatment.of(project, name, edits)
            others = control_sets(treatment.positions, labels, None, seed=number)[0]
            found.append(
                Case(wrong["id"], name, target, treatment, treatment.of_others(others.positions, labels))
            )
    return found


def trained_at_once(
    engine: Engine, recipe: TrainingRecipe, changes: Sequence[DataChanges], seed: int
) -> np.ndarray:
    """Logits (models, n_test, C) of one model per change, all from the same initial weights in the same order."""
    task = engine.task
    train, test = (
        [task.dataset(split)[row] for row in range(task.size(split))] for split in ("train", "test")
    )
    inputs, test_inputs = (torch.stack([x.flatten() for x, _ in data]) for data in (train, test))
    size, models = len(inputs), len(changes)
    labels = torch.tensor([int(y) for _, y in train]).repeat(models, 1)
    weights = torch.ones(models, size)
    for model, change in enumerate(changes):
        for position, weight in change.weights.items():
            weights[model, position] = weight
        for position, label in change.labels.items():
            labels[model, position] = label
    start = initial_weights(task, seed).values()
    parameters = [tensor.repeat(models, *[1] * tensor.dim()).requires_grad_() for tensor in start]
    velocities = [torch.zeros_like(p) for p in parameters]
    order = shuffled_batches(size, recipe.batch_size, seed)
    momentum, decay = recipe.optimization.momentum, recipe.optimization.weight_decay
    for rate in recipe.rates.tolist():
        rows = next(order)
        logits = forward(parameters, inputs[rows].expand(models, -1, -1))
        losses = functional.cross_entropy(
            logits.flatten(0, 1), labels[:, rows].flatten(), reduction="none"
        ).view(models, -1)
        gradients = torch.autograd.grad((losses * weights[:, rows]).sum() / len(rows), parameters)
        with torch.no_grad():
            for parameter, velocity, gradient in zip(parameters, velocities, gradients, strict=True):
                velocity.mul_(momentum).add_(gradient).add_(parameter, alpha=decay)
                parameter.sub_(velocity, alpha=rate)
    with torch.no_grad():
        return forward(parameters, test_inputs.expand(models, -1, -1)).numpy()


def correlation(predicted: np.ndarray, actual: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    """Pearson and Spearman with 95 % bootstrap intervals over mispredictions, and the least-squares slope through 0."""
    random = np.random.default_rng(0)
    names = sorted(set(groups))
    members = {name: np.flatnonzero(np.array(groups) == name) for name in names}
    draws = []
    for _ in range(DRAWS):
        rows = np.concatenate([members[name] for name in random.choice(names, len(names))])
        draws.append(
            (pearsonr(predicted[rows], actual[rows])[0], spearmanr(predicted[rows], actual[rows])[0])
        )
    low, high = np.nanpercentile(np.array(draws), [2.5, 97.5], axis=0)
    return {
        "pearson": float(pearsonr(predicted, actual)[0]),
        "pearson_interval": [float(low[0]), float(high[0])],
        "spearman": float(spearmanr(predicted, actual)[0]),
        "spearman_interval": [float(low[1]), float(high[1])],
        "slope": float(predicted @ actual / (predicted @ predicted)),
    }


def largest_difference(
    engine: Engine, recipe: TrainingRecipe, cases: Sequence[Case], margins: np.ndarray, labels: np.ndarray
) -> float:
    """Of the margins of some models trained at once from seed 0, from those of the product's own retraining."""
    differences = []
    for number, case in enumerate(cases[:CHECKED]):
        model = retrain(engine.task, recipe, 0, data_changes(case.suggested))
        logits, _ = predict(engine.task, model, "test", device="cpu", batch_size=256)
        differences.append(abs(mean_margin(logits.numpy(), [case.target], labels) - margins[number, 0]))
    return max(differences)


def measure(engine: Engine, seeds: int) -> dict[str, Any]:
    """All figures."""
    recipe = TrainingRecipe.of(engine.task)
    labels = engine.project.predictions("test")["label"].to_numpy()
    cases = cases_of(engine)
    print(f"{len(cases)} sets for {len({case.test_id for case in cases})} mispredictions", flush=True)
    treatments = [case.suggested for case in cases] + [case.random for case in cases]
    predicted = {
        title: predictions(engine, *asked, [case.target for case in cases] * 2, treatments)
        for title, asked in METHODS.items()
    }
    changes = [*(data_changes(treatment) for treatment in treatments), NO_CHANGES]
    margins = np.empty((2, len(treatments), seeds))  # with the edits, without
    targets = [case.target for case in cases] * 2
    for seed in range(seeds):
        started = time.perf_counter()
        logits = trained_at_once(engine, recipe, changes, seed)
        for number, target in enumerate(targets):
            margins[0, number, seed] = mean_margin(logits[number], [target], labels)
            margins[1, number, seed] = mean_margin(logits[-1], [target], labels)
        print(f"seed {seed}: {len(changes)} models in {time.perf_counter() - started:.0f} s", flush=True)
    differences = margins[0] - margins[1]
    count = len(cases)
    result: dict[str, Any] = {
        "seeds": seeds,
        "mispredictions": len({case.test_id for case in cases}),
        "sets": count,
        "batched_differs_by": largest_difference(engine, recipe, cases, margins[0], labels),
        "strategies": {},
    }
    for name in [*SUGGESTIONS, "all"]:
        rows = np.array([n for n, case in enumerate(cases) if name in (case.name, "all")])
        result["strategies"][name] = summary(
            differences[rows],
            differences[rows + count],
            {m: p[rows] for m, p in predicted.items()},
            cases,
            rows,
        )
    both = np.arange(2 * count)
    groups = [case.test_id for case in cases] * 2
    result["with_random_sets"] = {
        m: correlation(p[both], differences.mean(axis=1), groups) for m, p in predicted.items()
    }
    result["cases"] = [
        {
            "test_id": case.test_id,
            "strategy": case.name,
            "size": len(case.suggested.positions),
            "predicted": {m: round(float(p[n]), 4) for m, p in predicted.items()},
            "actual": round(float(differences[n].mean()), 4),
            "interval": [round(x, 4) for x in change_of(differences[n].tolist()).interval or ()],
            "random": round(float(differences[n + count].mean()), 4),
        }
        for n, case in enumerate(cases)
    ]
    return result


def predictions(
    engine: Engine, name: str, refined: bool, targets: Sequence[Target], treatments: Sequence[Treatment]
) -> np.ndarray:
    """The predicted change of every set by a method: that of its own target's margin."""
    method = method_named(name)
    assert isinstance(method, DirectionalMethod)
    asked = list({target.position: target for target in targets}.values())
    rows = {target.position: row for row, target in enumerate(asked)}
    predictor = Predictor.of(engine._run, method, asked, SILENT, refine=refined)
    return np.array(
        [
            float(predictor.changes(treatment)[rows[target.position]].sum())
            for target, treatment in zip(targets, treatments, strict=True)
        ]
    )


def summary(
    suggested: np.ndarray,
    random: np.ndarray,
    predicted: dict[str, np.ndarray],
    cases: Sequence[Case],
    rows: np.ndarray,
) -> dict[str, Any]:
    """Of one way of suggesting: changes (sets, seeds) by the suggested and by the random sets, and the predictions."""
    groups = [cases[row].test_id for row in rows]
    mean, other = suggested.mean(axis=1), random.mean(axis=1)
    intervals = [change_of(row.tolist()).interval for row in suggested]
    return {
        "sets": len(rows),
        "beats_random": float((mean < other).mean()),
        "change": float(mean.mean()),
        "random_change": float(other.mean()),
        "seed_deviation": float(suggested.std(axis=1, ddof=1).mean()),
        "moved_beyond_noise": float(np.mean([high < 0 for _, high in intervals])),  # type: ignore[misc]
        "judged": {
            str(seeds): judged(next(iter(predicted.values())), suggested[:, :seeds])
            for seeds in (SEEDS, suggested.shape[1])
        },
        "same_sign": {m: float((np.sign(p) == np.sign(mean)).mean()) for m, p in predicted.items()},
        "correlation": {m: correlation(p, mean, groups) for m, p in predicted.items()},
    }


def judged(predicted: np.ndarray, differences: np.ndarray) -> dict[str, float]:
    """What the page would say of sets (sets,) with these seeds (sets, seeds): the share of each judgement."""
    said = [
        judgement(p, change_of(row.tolist())) for p, row in zip(predicted.tolist(), differences, strict=True)
    ]
    return {name: count / len(said) for name, count in Counter(said).most_common()}


def main() -> None:
    """Prepare `digits` in a temporary folder, measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Engine(open_prepared("digits", Path(folder)), device="cpu"), seeds)
    for name, line in result["strategies"].items():
        best = ", ".join(
            f"{m} r {c['pearson']:.2f} rho {c['spearman']:.2f} slope {c['slope']:.2f}"
            for m, c in line["correlation"].items()
        )
        print(
            f"{name}: {line['sets']} sets, beats random {line['beats_random']:.0%}, change {line['change']:+.2f} "
            f"(random {line['random_change']:+.2f}), {best}; {line['judged']}"
        )
    OUTPUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
