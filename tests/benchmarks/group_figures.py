"""Several mispredictions fixed as one: how many come right and what it breaks, beside fixing them one by one.

Groups are the cells of the confusion matrix with at least two errors, the clusters of errors of a common cause and, for
each cluster, a random group of the same size. Alone, each member is fixed from the trained model as it is, so that what
members break is summed over them. Prints, and writes to docs/groups.json.

    python tests/benchmarks/group_figures.py [--strategies helpers] [NAME=PROJECT_DIRECTORY ...]      or digits
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from attribution import Engine, Project
from attribution.common import STRONGEST
from attribution.error_clusters import error_clusters
from attribution.errors import NumericalError, UsageError
from attribution.projects import FixRecord
from dashboard.current import MOST_TOGETHER

STRATEGIES = ("helpers", "relabel", "test")

RANDOM_DRAWS = 50
"""Of random groups, for the share of culprits; fixes are made for the first of them."""

OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "groups.json"

Groups = Sequence[Sequence[str]]


def cells(project: Project) -> Groups:
    """Mispredictions by true and predicted class, where there are at least two."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in project.mispredictions():
        found.setdefault((row["true"], row["predicted"]), []).append(row["id"])
    return [group for group in found.values() if len(group) > 1]


def drawn(project: Project, sizes: Sequence[int], seed: int) -> Groups:
    """Random mispredictions in groups of these sizes."""
    ids = [row["id"] for row in project.mispredictions()]
    order = iter(np.random.default_rng(seed).permutation(len(ids)).tolist())
    return [[ids[next(order)] for _ in range(size)] for size in sizes]


class Culprits:
    """The strongest culprits of every misprediction."""

    def __init__(self, engine: Engine) -> None:
        ids = [row["id"] for row in engine.project.mispredictions()]
        scores = engine.scores(ids)
        self._of = {
            one: set(np.argsort(-row, kind="stable")[:STRONGEST].tolist())
            for one, row in zip(ids, scores, strict=True)
        }

    def shared(self, groups: Groups) -> float:
        """Mean share of the strongest culprits that two members have in common, groups weighted by their size."""
        shares = [
            np.mean([len(self._of[a] & self._of[b]) / STRONGEST for a in group for b in group if a != b])
            for group in groups
        ]
        return float(np.average(shares, weights=[len(group) for group in groups]))


class Fixes:
    """Fixes without controls; what cannot be tried changed nothing."""

    def __init__(self, engine: Engine, strategy: str) -> None:
        self._engine = engine
        self._strategy = strategy
        self._known: dict[tuple[str, ...], tuple[int, int, int]] = {}

    def of(self, group: Sequence[str]) -> tuple[int, int, int]:
        """How many were fixed, and how many other predictions became right and wrong."""
        key = tuple(group)
        if key not in self._known:
            try:
                fix: FixRecord = self._engine.fix(group, strategy=self._strategy, controls=False)
            except (UsageError, NumericalError):
                self._known[key] = (0, 0, 0)
            else:
                self._known[key] = (fix.fixed_count, len(fix.newly_fixed), len(fix.newly_broken))
        return self._known[key]


def compared(fixes: Fixes, groups: Groups) -> dict[str, Any]:
    """Together and one by one: share fixed, and what is repaired and broken elsewhere per target."""
    targets = sum(len(group) for group in groups)
    together = np.array([fixes.of(group) for group in groups])
    alone = np.array([np.sum([fixes.of([one]) for one in group], axis=0) for group in groups])

    def figures(found: np.ndarray) -> dict[str, float]:
        fixed, repaired, broken = (float(column) for column in found.sum(axis=0))
        return {
            "fixed": fixed / targets,
            "newly_fixed_per_target": repaired / targets,
            "newly_broken_per_target": broken / targets,
            "newly_broken_per_group": broken / len(groups),
            "newly_broken_per_group_median": float(np.median(found[:, 2])),
        }

    whole = sum(int(row[0]) == len(group) for row, group in zip(together, groups, strict=True))
    return {"together": figures(together) | {"whole_groups": whole}, "alone": figures(alone)}


def figures_of(project: Project, strategies: Sequence[str]) -> dict[str, Any]:
    engine = Engine(project, device="cpu")
    clusters = [cluster.test_ids[:MOST_TOGETHER] for cluster in error_clusters(project)]
    sizes = [len(group) for group in clusters]
    kinds: dict[str, Groups] = {
        "cells": cells(project),
        "clusters": clusters,
        "random": drawn(project, sizes, 0),
    }
    culprits = Culprits(engine)
    result: dict[str, Any] = {"mispredictions": len(project.mispredictions())}
    for name, groups in kinds.items():
        result[name] = {
            "groups": len(groups),
            "targets": sum(len(group) for group in groups),
            "largest": max(len(group) for group in groups),
            "shared_culprits": culprits.shared(groups),
        }
    draws = [culprits.shared(drawn(project, sizes, seed)) for seed in range(RANDOM_DRAWS)]
    result["random"]["shared_culprits"] = float(np.mean(draws))
    for strategy in strategies:
        fixes = Fixes(engine, strategy)
        for name, groups in kinds.items():
            result[name][strategy] = compared(fixes, groups)
            print(project.name, name, strategy, json.dumps(result[name][strategy]), flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("projects", nargs="*", metavar="NAME=PROJECT_DIRECTORY")
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = json.loads(OUTPUT.read_text("utf-8")) if OUTPUT.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        named = dict(argument.split("=", 1) for argument in asked.projects)
        if not named:
            from dashboard.opening import open_prepared

            named = {"digits": str(open_prepared("digits", Path(folder)).directory)}
        for name, directory in named.items():
            results[name] = figures_of(Project.open(directory), asked.strategies.split(","))
            OUTPUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
