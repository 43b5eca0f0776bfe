"""Which set of training examples matters most: adaptive against greedy selection (MISS, Hu et al. 2024).

For each test example and each k = 5, 10, ..., 50 both ways choose k training examples to take away, so that the
log-odds of the predicted class fall most; then the linear model is really refitted without either set. Adaptive wins
where its set lowers the log-odds further; where both fall alike, it is a tie and counts half. Both use the same scores,
those of the method itself, with leverage; only adaptive selection computes them again after each choice.

Two logistic regressions on raw features, and the last layer of the `digits` sample on its representations. Prints, and
writes to docs/selection.json.

    python tests/benchmarks/selection_figures.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from attribution.linear_head import HEAD_PENALTY, with_ones
from attribution.selection import HeadRemoval, adaptive_set, greedy_set
from attribution.sketch import log_odds
from attribution.task import cross_entropy

SIZES = tuple(range(5, 51, 5))
SAME = 1e-6
"""Log-odds that differ by less count as alike: the refits are solved to about that."""

OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "selection.json"


@dataclass(frozen=True)
class Setting:
    """A linear classifier's data: inputs (N, D) and (M, D) without the constant, training labels (N,).

    ``queries`` is how many test examples are asked about: as many as some minutes allow.
    """

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    penalty: float
    queries: int

    def removals(self) -> Iterator[HeadRemoval]:
        """The problem of each of the first test examples: to lower the log-odds of its predicted class."""
        classes = int(self.labels.max()) + 1
        for row in range(self.queries):
            problem = HeadRemoval(
                inputs=with_ones(self.inputs),
                labels=self.labels,
                classes=classes,
                loss=cross_entropy,
                penalty=self.penalty,
                test_input=with_ones(self.test_inputs[row : row + 1]),
                test_label=torch.zeros(1, dtype=torch.long),
                value=log_odds,
            )
            problem.test_label = problem.logits([]).argmax().reshape(1)
            yield problem


def table(features: np.ndarray, labels: np.ndarray, train: int, queries: int) -> Setting:
    """A logistic regression on standardised features, its first ``train`` rows (shuffled) for training."""
    order = np.random.default_rng(0).permutation(len(features))
    features = (features - features[order[:train]].mean(axis=0)) / features[order[:train]].std(axis=0)
    inputs = torch.from_numpy(features)
    targets = torch.from_numpy(labels.astype(np.int64))
    return Setting(inputs[order[:train]], targets[order[:train]], inputs[order[train:]], 0.01, queries)


def diabetes() -> Setting:
    """Whether the disease progressed more than in the median patient: classes that overlap widely."""
    data = load_diabetes()
    return table(data.data, data.target > np.median(data.target), 300, 100)


def breast_cancer() -> Setting:
    """Malignant or benign: nearly separable."""
    data = load_breast_cancer()
    return table(data.data, data.target, 400, 60)


def digits_last_layer() -> Setting:
    """Representations of the `digits` sample, with its planted label errors; mispredictions first."""
    from attribution.projects import Project
    from attribution.representation import RepresentationRecorder, head_name
    from attribution.sources import load_task
    from sample_models import SAMPLES

    with tempfile.TemporaryDirectory() as folder:
        SAMPLES["digits"].create(Path(folder) / "digits")
        task = load_task(Project.open(Path(folder) / "digits"))
    (inputs, labels), (test_inputs, test_labels) = (
        (torch.stack([x for x, _ in data]), torch.tensor([int(y) for _, y in data]))  # type: ignore[attr-defined]
        for data in (task.train, task.test)
    )
    found = []
    with torch.no_grad(), RepresentationRecorder(task.model.eval(), head_name(task, task.model)) as recorder:
        for batch in (inputs, test_inputs):
            logits = task.model(batch)
            found.append(recorder.take())
    order = torch.argsort((logits.argmax(dim=1) == test_labels).long(), stable=True)
    return Setting(found[0], labels, found[1][order], HEAD_PENALTY, 30)


SETTINGS = {
    "diabetes": diabetes,
    "breast cancer": breast_cancer,
    "digits, last layer": digits_last_layer,
}


def falls(problem: HeadRemoval, chosen: list[int]) -> list[float]:
    """How far the log-odds really fall without the first k of ``chosen``, for each k."""
    before = problem.measured([])
    return [before - problem.measured(chosen[:size]) for size in SIZES]


def compared(setting: Setting) -> dict[str, Any]:
    """Both selections for some test examples: (Q, sizes) real falls, and what they come to."""
    greedy, adaptive = [], []
    for problem in setting.removals():
        greedy.append(falls(problem, greedy_set(problem.scores([]), SIZES[-1])))
        adaptive.append(falls(problem, adaptive_set(problem.scores, SIZES[-1])))
    return summary(np.array(greedy), np.array(adaptive))


def summary(greedy: np.ndarray, adaptive: np.ndarray) -> dict[str, Any]:
    """Winning rates and mean falls by k, with standard errors over test examples."""
    difference = adaptive - greedy
    points = np.where(np.abs(difference) <= SAME, 0.5, difference > 0)
    count = len(points)
    return {
        "queries": count,
        "sizes": list(SIZES),
        "winning_rate": points.mean(axis=0).tolist(),
        "standard_error": (points.std(axis=0, ddof=1) / np.sqrt(count)).tolist(),
        "ties": (np.abs(difference) <= SAME).mean(axis=0).tolist(),
        "fall_greedy": greedy.mean(axis=0).tolist(),
        "fall_adaptive": adaptive.mean(axis=0).tolist(),
        "gain": difference.mean(axis=0).tolist(),
        "gain_standard_error": (difference.std(axis=0, ddof=1) / np.sqrt(count)).tolist(),
    }


def main() -> None:
    torch.set_num_threads(1)
    results = {}
    for name, build in SETTINGS.items():
        results[name] = compared(build())
        print(name, json.dumps(results[name]), flush=True)
        OUTPUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
