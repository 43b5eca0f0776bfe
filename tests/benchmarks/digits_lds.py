"""Linear datamodeling score (Park et al. 2023) of our methods on digits, against 1,000 real retrains a variant.

1,000 training and 100 test digits, MLP 64-64-32-10, SGD with momentum .9, learning rate .1 falling linearly to 0,
weight decay 1e-3, batch 100, 40 epochs; 20 queries, mispredictions first; 100 half-subsets × 10 seeds. "noisy" has a
tenth of the training labels flipped. All models of a chunk train at once as one batched computation.

    python tests/benchmarks/digits_lds.py [noisy] [clean]

Writes docs/digits_lds.json. The ceiling is the rank correlation of two disjoint halves of the retrains.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

sys.path.insert(0, str(Path(__file__).parents[2]))

from attribution import Checkpoint, Task
from attribution.batches import batch_of
from attribution.capture import GradientCapture
from attribution.curvature import automatic_damping, fit_ekfac
from attribution.trajectory import Point, Trajectory

TRAIN, TEST, QUERIES = 1000, 100, 20
SUBSETS, SEEDS, CHUNK = 100, 10, 250
LAYERS = ((64, 64), (64, 32), (32, 10))
EPOCHS, BATCH, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 40, 100, 0.1, 0.9, 1e-3
CHECKPOINTS = (67, 133, 200, 267, 333, 400)
OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "digits_lds.json"


class Digits(Dataset[Any]):
    """Rows of pixels in [0, 1] with labels."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        self.inputs = inputs
        self.targets = labels
        self.labels = labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        return self.inputs[position], self.labels[position]


def data(noisy: bool) -> tuple[Digits, Digits]:
    """Training and test data, the same split for both variants."""
    digits = load_digits()
    inputs = torch.tensor(digits.images / 16.0, dtype=torch.float32).flatten(1)
    labels = torch.tensor(digits.target)
    generator = np.random.default_rng(0)
    order = generator.permutation(len(inputs))
    train, test = order[:TRAIN], order[TRAIN : TRAIN + TEST]
    targets = labels[train].clone()
    if noisy:
        flipped = generator.choice(TRAIN, TRAIN // 10, replace=False)
        targets[flipped] = (targets[flipped] + torch.tensor(generator.integers(1, 10, TRAIN // 10))) % 10
    return Digits(inputs[train], targets), Digits(inputs[test], labels[test])


def forward(parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """Logits (models, B, 10) of many MLPs at once."""
    hidden = inputs
    for layer in range(len(LAYERS)):
        weight, bias = parameters[2 * layer], parameters[2 * layer + 1]
        hidden = torch.baddbmm(bias.unsqueeze(1), hidden, weight.transpose(1, 2))
        if layer < len(LAYERS) - 1:
            hidden = hidden.relu()
    return hidden


def train_many(
    train: Digits, subsets: Tensor, seed: int, keep: Sequence[int] = ()
) -> tuple[list[Tensor], list[tuple[int, float, list[Tensor]]]]:
    """Train one model per row of ``subsets`` (models, n); also (step, learning rate, parameters) at the kept steps."""
    generator = torch.Generator().manual_seed(seed)
    models, size = subsets.shape
    parameters: list[Tensor] = []
    for inputs, outputs in LAYERS:
        for shape in ((models, outputs, inputs), (models, outputs)):
            uniform = 2 * torch.rand(shape, generator=generator) - 1
            parameters.append((uniform / inputs**0.5).requires_grad_())
    velocities = [torch.zeros_like(p) for p in parameters]
    total, step, kept = EPOCHS * (size // BATCH), 0, []
    for _ in range(EPOCHS):
        order = torch.argsort(torch.rand(models, size, generator=generator), dim=1)
        for start in range(0, size - BATCH + 1, BATCH):
            rows = torch.gather(subsets, 1, order[:, start : start + BATCH])
            logits = forward(parameters, train.inputs[rows])
            loss = functional.cross_entropy(
                logits.flatten(0, 1), train.targets[rows].flatten(), reduction="sum"
            )
            gradients = torch.autograd.grad(loss / BATCH, parameters)
            rate = LEARNING_RATE * (1 - step / total)
            step += 1
            with torch.no_grad():
                for parameter, velocity, gradient in zip(parameters, velocities, gradients, strict=True):
                    velocity.mul_(MOMENTUM).add_(gradient + WEIGHT_DECAY * parameter)
                    parameter.sub_(rate * velocity)
            if step in keep:
                kept.append((step, rate, [p.detach().clone() for p in parameters]))
    return [p.detach() for p in parameters], kept


@dataclass(frozen=True)
class Queries:
    """Test positions, their true and predicted classes, and how they are measured."""

    positions: list[int]
    true: Tensor
    predicted: Tensor
    measurement: str

    def value(self, logits: Tensor, _: Tensor | None = None) -> Tensor:
        """The measurement of logits (..., QUERIES, 10)."""
        chances = logits.log_softmax(dim=-1)
        shape = logits.shape[:-1]
        true = chances.gather(-1, self.true.expand(shape).unsqueeze(-1)).squeeze(-1)
        if self.measurement == "loss":
            return -true
        predicted = chances.gather(-1, self.predicted.expand(shape).unsqueeze(-1)).squeeze(-1)
        odds = true - torch.log1p(-true.exp().clamp(max=1 - 1e-12))
        return torch.where(self.true == self.predicted, -odds, predicted - true)


def measure(variant: str) -> dict[str, Any]:
    """The LDS table of one variant."""
    train, test = data(variant == "noisy")
    final, kept = train_many(train, torch.arange(TRAIN).unsqueeze(0), seed=1, keep=CHECKPOINTS)
    predicted = forward(final, test.inputs.unsqueeze(0))[0].argmax(dim=1)
    wrong = torch.nonzero(predicted != test.targets).flatten().tolist()
    positions = (wrong + [p for p in range(TEST) if p not in wrong])[:QUERIES]

    choice = np.random.default_rng(7)
    subsets = torch.tensor(
        np.stack([choice.choice(TRAIN, TRAIN // 2, replace=False) for _ in range(SUBSETS)])
    )
    started = time.perf_counter()
    logits = []
    for number, chunk in enumerate(subsets.repeat_interleave(SEEDS, 0).split(CHUNK)):
        retrained, _ = train_many(train, chunk, seed=100 + number)
        logits.append(forward(retrained, test.inputs[positions].expand(len(chunk), -1, -1)))
    truth = torch.cat(logits).double().reshape(SUBSETS, SEEDS, QUERIES, 10)
    result: dict[str, Any] = {"retrain_seconds": time.perf_counter() - started, "mispredictions": len(wrong)}

    member = torch.zeros(SUBSETS, TRAIN, dtype=torch.float64).scatter_(1, subsets, 1.0)
    task = _task(train, test, final, kept)
    for measurement in ("loss", "margin"):
        queries = Queries(positions, test.targets[positions], predicted[positions], measurement)
        measured = queries.value(truth)
        half = SEEDS // 2
        result[measurement] = {
            "ceiling": _lds(measured[:, :half].mean(dim=1), measured[:, half:].mean(dim=1)),
            "methods": {
                name: {**_lds(measured.mean(dim=1), member @ scores.double()), "seconds": seconds}
                for name, (scores, seconds) in _scores(task, queries).items()
            },
        }
    return result


def _task(
    train: Digits, test: Digits, final: list[Tensor], kept: list[tuple[int, float, list[Tensor]]]
) -> Task:
    model = nn.Sequential(*[m for i, o in LAYERS for m in (nn.Linear(i, o), nn.ReLU())][:-1])
    names = list(model.state_dict())

    def state(parameters: list[Tensor]) -> dict[str, Tensor]:
        return {name: p[0].clone() for name, p in zip(names, parameters, strict=True)}

    model.load_state_dict(state(final))
    return Task(
        model=model,
        train=train,
        test=test,
        class_names=[str(c) for c in range(10)],
        checkpoints=[Checkpoint(state(p), learning_rate=rate, step=step) for step, rate, p in kept],
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        steps=EPOCHS * TRAIN // BATCH,
    )


def _scores(task: Task, queries: Queries) -> dict[str, tuple[Tensor, float]]:
    """Scores (TRAIN, QUERIES) and seconds from nothing, curvature included; EK-FAC with the automatic damping."""
    trajectory = Trajectory(task)
    damping = automatic_damping(task)

    def dots(point: Point, curved: bool) -> Tensor:
        capture = GradientCapture(task, trajectory.model_at(point))
        train, test = batch_of(task, "train", range(TRAIN)), batch_of(task, "test", queries.positions)
        query = capture.gradients(test.inputs, test.labels, queries.value).dense()
        if curved:
            curvature = fit_ekfac(task, capture, batch_size=BATCH)
            query = curvature.inverse(query, damping.absolute(curvature.mean_eigenvalue()))
        return -capture.gradients(train.inputs, train.labels, task.loss).dot(query)

    methods = {
        "grad_dot": lambda: dots(trajectory.final, False),
        "tracin": lambda: sum(p.learning_rate * dots(p, False) for p in trajectory.points),
        "ekfac": lambda: dots(trajectory.final, True),
        "path": lambda: sum(dots(p, True) for p in trajectory.points),
    }
    found = {}
    for name, method in methods.items():
        started = time.perf_counter()
        scores = method()
        assert isinstance(scores, Tensor)
        found[name] = scores, time.perf_counter() - started
    return found


def _lds(truth: Tensor, predicted: Tensor) -> dict[str, float]:
    """Mean Spearman correlation over queries with its standard error; both (SUBSETS, QUERIES)."""
    each = [float(spearmanr(truth[:, q], predicted[:, q])[0]) for q in range(QUERIES)]
    return {"lds": float(np.mean(each)), "standard_error": float(np.std(each) / np.sqrt(QUERIES))}


def main() -> None:
    torch.set_num_threads(2)
    results = {variant: measure(variant) for variant in sys.argv[1:] or ("noisy", "clean")}
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
