"""Mirrored influence (Ko et al. 2024) against leaving examples out, on convex models that are really refitted.

A regularised logistic regression on scikit-learn's digits is refitted without each training example; the effect on the
loss of each test example is what training on it did. Against it stand, correlated query by query over the training
examples:

- mirrored, refitted: the paper's hypothesis itself. The model is refitted with the test example among the training
  examples, and the loss of each training example falls.
- forward_inf: our method, one Adam step instead of a refit.
- grad_dot: the same to first order, without Adam's signs.

Each at weak and strong regularisation ½λ‖W‖², and on features whose variances were made equal (whitened): a single step
knows no curvature, and the more alike all curvatures are, the less it misses. Prints, and writes to docs/mirrored.json.

    python tests/benchmarks/mirrored_figures.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from attribution import Task
from attribution.linear_head import fit_head, with_ones
from attribution.task import cross_entropy
from attribution.trust import spearman
from tests.unit.built_projects import engine_of
from tests.unit.tiny_models import Pairs

TRAIN, QUERIES, SEEDS, CLASSES = 150, 20, 3, 10
COMPONENTS = 20
"""Principal components that are kept where features are whitened: later ones are noise made large."""

OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "mirrored.json"


@dataclass(frozen=True)
class Problem:
    """A logistic regression: inputs (N, D) and labels of both splits, and the strength of ½λ‖W‖²."""

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    penalty: float

    def fitted(
        self, weights: Tensor | None = None, added: int | None = None, start: Tensor | None = None
    ) -> Tensor:
        """Weights (C, D + 1), with a weight for each training example, or with one test example added."""
        inputs, labels = with_ones(self.inputs), self.labels
        if added is not None:
            inputs = torch.cat([inputs, with_ones(self.test_inputs[added : added + 1])])
            labels = torch.cat([labels, self.test_labels[added : added + 1]])
            # fit_head divides by the number of rows: the N training examples keep 1/N each.
            weights = torch.full((len(labels),), len(labels) / len(self.labels), dtype=torch.float64)
        return fit_head(inputs, labels, CLASSES, cross_entropy, self.penalty, weights=weights, start=start)

    def task(self, whole: Tensor) -> Task:
        """The fitted model as a task."""
        model = nn.Linear(self.inputs.shape[1], CLASSES)
        model.load_state_dict({"weight": whole[:, :-1].float(), "bias": whole[:, -1].float()})
        return Task(
            model=model,
            train=Pairs(self.inputs.float(), self.labels.tolist()),
            test=Pairs(self.test_inputs.float(), self.test_labels.tolist()),
            class_names=[str(digit) for digit in range(CLASSES)],
        )


def problem(seed: int, penalty: float, whitened: bool) -> Problem:
    """A random choice of digits; where whitened, their principal components at variance one."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))[: TRAIN + QUERIES]
    inputs, labels = torch.tensor(digits.data[order] / 16), torch.tensor(digits.target[order])
    if whitened:
        centred = inputs - inputs[:TRAIN].mean(dim=0)
        _, lengths, axes = torch.linalg.svd(centred[:TRAIN], full_matrices=False)
        inputs = centred @ axes[:COMPONENTS].T / lengths[:COMPONENTS] * TRAIN**0.5
    return Problem(inputs[:TRAIN], labels[:TRAIN], inputs[TRAIN:], labels[TRAIN:], penalty)


SETTINGS: dict[str, Callable[[int], Problem]] = {
    "pixels, λ = .01": partial(problem, penalty=0.01, whitened=False),
    "pixels, λ = .1": partial(problem, penalty=0.1, whitened=False),
    "whitened, λ = .1": partial(problem, penalty=0.1, whitened=True),
}


def left_out(data: Problem, whole: Tensor) -> Tensor:
    """What training on each example really added to the loss of each test example (Q, N)."""
    test = with_ones(data.test_inputs)
    present = cross_entropy(test @ whole.T, data.test_labels)
    rows = []
    for position in range(TRAIN):
        weights = torch.ones(TRAIN, dtype=torch.float64)
        weights[position] = 0
        without = data.fitted(weights=weights, start=whole)
        rows.append(present - cross_entropy(test @ without.T, data.test_labels))
    return torch.stack(rows, dim=1)


def mirrored(data: Problem, whole: Tensor) -> Tensor:
    """What training on each test example really adds to the loss of each training example (Q, N)."""
    train = with_ones(data.inputs)
    before = cross_entropy(train @ whole.T, data.labels)
    after = [data.fitted(added=row, start=whole) for row in range(QUERIES)]
    return torch.stack([cross_entropy(train @ weights.T, data.labels) - before for weights in after])


def agreement(data: Problem) -> dict[str, list[list[float]]]:
    """Pearson and Spearman correlation with leaving out of each method, query by query."""
    whole = data.fitted()
    real = left_out(data, whole)
    found = {"mirrored, refitted": mirrored(data, whole)}
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_of(Path(folder) / "project", lambda: data.task(whole))
        for method in ("forward_inf", "grad_dot"):
            scores = engine.scores([str(row) for row in range(QUERIES)], method=method, measurement="loss")
            found[method] = torch.from_numpy(scores).double()
    return {
        name: [
            [float(torch.corrcoef(torch.stack([mine, other]))[0, 1]), spearman(mine, other)]
            for mine, other in zip(rows, real, strict=True)
        ]
        for name, rows in found.items()
    }


def summary(seeds: list[list[list[float]]]) -> dict[str, Any]:
    """Means over queries and seeds, with the standard error over all of them, and the mean of each seed."""
    values = np.array(seeds)  # (seeds, queries, 2)
    flat = values.reshape(-1, 2)
    result: dict[str, Any] = {}
    for column, name in enumerate(("pearson", "spearman")):
        result[name] = float(flat[:, column].mean())
        result[f"{name}_standard_error"] = float(flat[:, column].std(ddof=1) / np.sqrt(len(flat)))
        result[f"{name}_by_seed"] = values[:, :, column].mean(axis=1).tolist()
    return result


def main() -> None:
    torch.set_num_threads(1)
    results: dict[str, Any] = {"training_examples": TRAIN, "queries": QUERIES, "seeds": SEEDS, "settings": {}}
    for name, build in SETTINGS.items():
        runs = [agreement(build(seed)) for seed in range(SEEDS)]
        results["settings"][name] = {method: summary([run[method] for run in runs]) for method in runs[0]}
        print(name, json.dumps(results["settings"][name]), flush=True)
        OUTPUT.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
