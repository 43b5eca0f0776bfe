"""Held-out labels and suggestions on `digits`, with a tenth and a fifth of the training labels planted wrong.

Prints, and writes to docs/suggestion.json: how well planted errors are told from right labels by several judges; what
suggestions do beside the ten strongest helpers; what accepting all of them repairs; whether members chosen adaptively
do better than those of the explanation's order.

    python tests/benchmarks/suggestion_figures.py [--parts labels suggestions orders fashion] [--projects DIR]

Parts that are not asked for stay as they are in the file.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from attribution import Engine, Project, prepare
from attribution.batches import labels_of
from attribution.errors import NumericalError
from attribution.fixing.candidates import STRONGEST, Pool
from attribution.fixing.context import FixContext
from attribution.fixing.fix import FixRequest, carry_out
from attribution.fixing.harm import Watch
from attribution.fixing.pull import pulls
from attribution.fixing.settings import strategy_of
from attribution.held_out import hold_out
from attribution.progress import SILENT
from attribution.projects import Edit, FixRecord
from attribution.projects.held_out import CLEAR, UNLIKELY, HeldOut
from dashboard.opening import open_prepared
from sample_models import digits

OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "suggestion.json"
PARTS = ("labels", "suggestions", "orders", "fashion")
SHARES = (0.1, 0.2)
NEIGHBOURS = 20
ORDER_SIZES = (1, 2, 3, 5)


# -- who finds planted errors ---------------------------------------------------------------------------------------


def judged(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], right: NDArray[np.int64]
) -> dict[str, Any]:
    """Figures of probabilities (N, C) as judges of labels (N,), where ``right`` (N,) are the original ones."""
    planted = labels != right
    of_label = probabilities[np.arange(len(labels)), labels]
    best = probabilities.argmax(axis=1)

    def found(looks_wrong: NDArray[np.bool_]) -> dict[str, Any]:
        both = looks_wrong & planted
        return {
            "count": int(looks_wrong.sum()),
            "precision": float(planted[looks_wrong].mean()) if looks_wrong.any() else None,
            "recall": float(looks_wrong[planted].mean()),
            "gets_original_label": float((best == right)[both].mean()) if both.any() else None,
        }

    return {
        "auc": float(roc_auc_score(planted, -of_label)),
        "p < .05": found(of_label < 0.05),
        f"p < {UNLIKELY}, another > {CLEAR}": found(
            (of_label < UNLIKELY) & (probabilities.max(axis=1) >= CLEAR)
        ),
        "p < .2": found(of_label < 0.2),
        "another is likelier": found(best != labels),
        "confident learning": found(_confident(probabilities, labels)),
    }


def _confident(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Northcutt et al. 2021, equation 1: another class reaches its mean probability among those labelled so."""
    means = np.array([probabilities[labels == c, c].mean() for c in range(probabilities.shape[1])])
    confident = np.where(probabilities >= means, probabilities, -1.0)
    found: NDArray[np.bool_] = (confident.max(axis=1) > 0) & (confident.argmax(axis=1) != labels)
    return found


def judges(engine: Engine) -> dict[str, Any]:
    """Who says how probable a label is."""
    project = engine.project
    table, held_out = project.predictions("train"), project.held_out
    assert held_out is not None
    labels = table["label"].to_numpy()
    right = project.examples("train")["original_label"].to_numpy()
    classes = len(project.class_names)
    own = table[[f"p_{c}" for c in range(classes)]].to_numpy(np.float64)
    representations = engine._run.representations()
    assert representations is not None
    return {
        "trained model": judged(own, labels, right),
        "less its self-influence": judged(
            _without_itself(own, labels, engine.self_influence()), labels, right
        ),
        f"{NEIGHBOURS} nearest neighbours": judged(
            _neighbours(representations, labels, classes), labels, right
        ),
        "held out": judged(held_out.probabilities, labels, right),
    }


def _without_itself(
    own: NDArray[np.float64], labels: NDArray[np.int64], influence: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Leave-one-out to first order: the loss of each label rises by its influence on itself."""
    rows = np.arange(len(labels))
    before = own[rows, labels]
    after = before * np.exp(-influence.astype(np.float64))
    found = own * ((1 - after) / np.maximum(1 - before, 1e-12))[:, None]
    found[rows, labels] = after
    return found


def _neighbours(
    representations: NDArray[np.float32], labels: NDArray[np.int64], classes: int
) -> NDArray[np.float64]:
    """Shares of the classes among the most similar others, by cosine."""
    unit = representations / np.maximum(np.linalg.norm(representations, axis=1, keepdims=True), 1e-12)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    nearest = np.argsort(-similar, axis=1, kind="stable")[:, :NEIGHBOURS]
    return np.stack([(labels[nearest] == c).mean(axis=1) for c in range(classes)], axis=1)


def by_heart(share: float) -> dict[str, Any]:
    """The same judges of a network of 150,000 parameters that learned all labels by heart."""
    data = digits.splits(share)
    inputs = torch.from_numpy(data["train_pixels"] / 16.0).float().flatten(1)
    labels, right = data["train_labels"], data["train_original_labels"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = torch.nn.Sequential(
            torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256), torch.nn.ReLU()
        )
        model = torch.nn.Sequential(body, torch.nn.Linear(256, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        epochs, targets = 200, torch.from_numpy(labels)
        for epoch in range(epochs):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * (1 - epoch / epochs)
            for batch in torch.randperm(len(inputs)).split(100):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
                optimizer.step()
    with torch.no_grad():
        representations = body(inputs).numpy()
        own = torch.softmax(model(inputs), dim=1).double().numpy()
    found = hold_out(representations, labels, 10, SILENT)
    return {
        "train_accuracy": float((own.argmax(axis=1) == labels).mean()),
        "trained model": judged(own, labels, right),
        f"{NEIGHBOURS} nearest neighbours": judged(_neighbours(representations, labels, 10), labels, right),
        "held out": judged(found.probabilities, labels, right),
    }


# -- what suggestions do --------------------------------------------------------------------------------------------


def summary(fixes: Sequence[FixRecord]) -> dict[str, Any]:
    """Means over mispredictions, with standard errors of what is compared."""

    def mean(values: Sequence[float]) -> dict[str, float]:
        return {
            "mean": float(np.mean(values)),
            "standard_error": float(np.std(values) / np.sqrt(len(values))),
        }

    steps = [fix.steps for fix in fixes if fix.fixed]
    return {
        "success": float(np.mean([fix.fixed for fix in fixes])),
        "median_size": float(np.median([len(fix.edits) for fix in fixes])),
        "median_steps": float(np.median(steps)) if steps else None,
        "newly_fixed": mean([len(fix.newly_fixed) for fix in fixes]),
        "newly_broken": mean([len(fix.newly_broken) for fix in fixes]),
        "fixed_less_broken": mean([len(fix.newly_fixed) - len(fix.newly_broken) for fix in fixes]),
        "accuracy_change_pp": mean([100 * (fix.accuracy_after - fix.accuracy_before) for fix in fixes]),
        "edits": dict(Counter(edit.action for fix in fixes for edit in fix.edits)),
    }


def suggestions(engine: Engine, every: int) -> dict[str, Any]:
    """A suggestion for each misprediction beside its ten strongest helpers, and the seconds of each."""
    ids = [row["id"] for row in engine.project.mispredictions()[::every]]
    rows: dict[str, list[FixRecord]] = {"suggest": [], "helpers, top 10": [], "helpers, top 3": []}
    seconds: dict[str, list[float]] = {"propose": [], "helpers, top 10": []}
    for test_id in ids:
        engine.explain(test_id)
        started = time.perf_counter()
        found = engine.propose(test_id)
        seconds["propose"].append(time.perf_counter() - started)
        rows["suggest"].append(engine.fix(test_id, edits=found.edits, controls=False))
        started = time.perf_counter()
        rows["helpers, top 10"].append(engine.fix(test_id, strategy="helpers", controls=False))
        seconds["helpers, top 10"].append(time.perf_counter() - started)
        rows["helpers, top 3"].append(engine.fix(test_id, strategy="helpers", top=3, controls=False))
    result: dict[str, Any] = {name: summary(fixes) for name, fixes in rows.items()}
    result["mispredictions"] = len(ids)
    result["median_seconds"] = {name: float(np.median(found)) for name, found in seconds.items()}
    if "original_label" in engine.project.examples("train"):
        result["repairs"] = repairs(engine.project, rows["suggest"])
    return result


def repairs(project: Project, fixes: Sequence[FixRecord]) -> dict[str, Any]:
    """Of the examples that all suggestions together touch: how many were planted wrong, and what becomes of them."""
    train, names = project.examples("train"), project.class_names
    planted = {str(name) for name, row in train.iterrows() if row["label"] != row["original_label"]}
    edits = {edit.train_id: edit for fix in fixes for edit in fix.edits}
    relabelled = {name: edit.label for name, edit in edits.items() if edit.action == "relabel"}
    repaired = [
        name
        for name, label in relabelled.items()
        if name in planted and names[int(train.loc[name, "original_label"])] == label
    ]
    touched_planted = [name for name in edits if name in planted]
    return {
        "touched": len(edits),
        "touched_planted": len(touched_planted),
        "relabelled": len(relabelled),
        "relabelled_planted": sum(name in planted for name in relabelled),
        "got_original_label": len(repaired),
        "repaired_of_touched_planted": len(repaired) / max(len(touched_planted), 1),
        "precision_of_relabelling": sum(name in planted for name in relabelled) / max(len(relabelled), 1),
        "clean_touched": len(edits) - len(touched_planted),
        "clean_relabelled": sum(name not in planted for name in relabelled),
        "planted": len(planted),
        "share_of_all_planted_repaired": len(repaired) / len(planted),
    }


# -- in which order members are taken -------------------------------------------------------------------------------


class Orders:
    """Sets of one kind whose members are taken in the explanation's order, by the effect of a step on each, or by that
    effect anew after each member, at the model that the members so far lead to (adaptively)."""

    def __init__(self, engine: Engine, test_id: str) -> None:
        self._engine, self._context = engine, FixContext.of(engine._run)
        self._mapped = self._context.curvature(SILENT)
        held_out = engine.project.held_out
        assert held_out is not None
        self._held_out: HeldOut = held_out
        self._pool = Pool.of(engine.explain(test_id), held_out)
        self._test_id = test_id
        self._position = engine.project.position("test", test_id)
        self._watch = Watch(
            engine.task, self._context.model, held_out, self._pool.positions, 0, self._context.device
        )

    def figures(self) -> dict[str, dict[str, float]]:
        """By kind, order and size: whether it fixes, steps, harm, and others fixed and broken."""
        found = {}
        pools = {"relabelled": self._pool.suspects, "helpers": self._pool.helpers[:STRONGEST]}
        for kind, pool in pools.items():
            if len(pool) < max(ORDER_SIZES):
                continue
            by_effect = [pool[place] for place in np.argsort(-self._effects(self._context.model, pool))]
            adaptive: list[int] = []
            model = self._context.model
            for size in range(1, max(ORDER_SIZES) + 1):
                free = [member for member in pool if member not in adaptive]
                adaptive.append(free[int(self._effects(model, free).argmax())])
                tested = self._tested(adaptive)
                if tested is not None:
                    model = tested[0]
                if size not in ORDER_SIZES:
                    continue
                orders = {"explanation": pool[:size], "effect": by_effect[:size], "adaptive": list(adaptive)}
                for name, members in orders.items():
                    result = tested if name == "adaptive" else self._tested(members)
                    if result is not None:
                        found[f"{kind}, {name}, {size}"] = result[1]
        return found

    def _edits(self, members: Sequence[int]) -> list[Edit]:
        ids, names, out = (
            self._engine.project.predictions("train").index,
            self._engine.project.class_names,
            [],
        )
        for p in members:
            wrong = bool(self._held_out.mislabelled[p])
            label = names[int(self._held_out.best[p])] if wrong else None
            out.append(Edit(train_id=str(ids[p]), action="relabel" if wrong else "upweight", label=label))
        return out

    def _tested(self, members: Sequence[int]) -> tuple[torch.nn.Module, dict[str, float]] | None:
        edits = self._edits(members)
        request = FixRequest([self._position], strategy_of(edits, "helpers"), edits, "", "margin", 50, 0)
        try:
            run = carry_out(self._context, request, SILENT).run
        except NumericalError:
            return None
        fix = self._engine.fix(self._test_id, edits=edits, controls=False)
        return run.model, {
            "fixed": float(run.fixed),
            "steps": float(run.steps),
            "harm": self._watch.harm(run.model).amount,
            "newly_fixed": float(len(fix.newly_fixed)),
            "newly_broken": float(len(fix.newly_broken)),
        }

    def _effects(self, model: torch.nn.Module, members: Sequence[int]) -> NDArray[np.float64]:
        """First-order fall of the margin for a step on each member, with the label that it would be trained with."""
        known = labels_of(self._engine.task, "train")
        labels = {
            p: int(self._held_out.best[p]) if self._held_out.mislabelled[p] else int(known[p])
            for p in members
        }
        there = replace(self._context, model=model)
        return pulls(there, self._mapped, [self._position], labels, SILENT)


def orders(engine: Engine, every: int) -> dict[str, dict[str, float]]:
    """Means over mispredictions of `Orders.figures`; median of the steps."""
    rows: dict[str, list[dict[str, float]]] = {}
    for row in engine.project.mispredictions()[::every]:
        for name, found in Orders(engine, row["id"]).figures().items():
            rows.setdefault(name, []).append(found)
    return {
        name: {
            **{key: float(np.mean([one[key] for one in found])) for key in found[0] if key != "steps"},
            "median_steps": float(np.median([one["steps"] for one in found])),
            "mispredictions": len(found),
        }
        for name, found in sorted(rows.items())
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--projects", type=Path, help="where a prepared fashion project is or is to be")
    parser.add_argument("--every", type=int, default=12, help="of fashion's mispredictions, each so-many-th")
    options = parser.parse_args()
    result: dict[str, Any] = json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for share in SHARES if set(options.parts) != {"fashion"} else ():
            directory = Path(scratch) / f"digits-{share}"
            digits.create(directory, flipped=share)
            prepare(Project.open(directory), device="cpu")
            engine = Engine(Project.open(directory), device="cpu")
            found = result.setdefault(f"digits, {share:.0%} planted", {})
            if "labels" in options.parts:
                found["judges"] = judges(engine)
                found["judges, labels learned by heart"] = by_heart(share)
            if "suggestions" in options.parts:
                found["suggestions"] = suggestions(engine, 1)
            if "orders" in options.parts:
                found["orders"] = orders(engine, 2)
        if "fashion" in options.parts:
            engine = Engine(open_prepared("fashion", options.projects or Path(scratch)), device="cpu")
            engine.propose(engine.project.mispredictions()[0]["id"])  # so that label beliefs are there
            result["fashion"] = {"suggestions": suggestions(engine, options.every)}
    OUTPUT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
