"""Undoing a bias of word embeddings by the sentences that made it (Silva et al. 2022, § 4.3), on `wordbias`.

For each method: the sentences with the strongest influence on the mean effect size of parts 1 and 2 of the word lists
are selected, and a few steps of gradient descent go up the loss of those that pushed it up and down the loss of those
that pushed it down. The number of steps is chosen by selecting with either part and looking at the other; the result
is the effect size on part 3, whose words are in neither, next to the same steps on random sentences. The intrinsic
loss, per observed pair, is that of all training sentences and of 2,000 sentences that were never trained on.

Part 3 was looked at while the selection was developed. The blind check is the same procedure on other seeds of the
embeddings, measured on words that no list of the sample has: `FRESH`, taken by their meaning from the most frequent
words of the vocabulary before any effect of theirs was computed, and not changed since.

Prints, and writes to docs/wordbias.json, each run of several seeds of the embeddings, and their means.

    python tests/benchmarks/wordbias_figures.py [--only developed|blind]
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from attribution import Engine, Task, prepare
from attribution.batches import batch_of
from attribution.projects import Project
from attribution.task import Inputs
from sample_models import wordbias
from sample_models.wordbias_corpus import Corpus, Vocabulary, corpus
from sample_models.wordbias_lists import PARTS, test_id
from sample_models.wordbias_task import BIASED_FROM, test_inputs

ASSOCIATION = "film"
"""The one bias that these embeddings have: of the other, nothing is there to undo."""

METHODS = ("path", "ekfac", "grad_dot")
EACH_SIGN = 300
"""Sentences selected of each sign: about a tenth of all together."""

STEP_SIZE = 0.3
MOST_STEPS = 24
LOSS_BUDGET = 1.05
"""The intrinsic training loss may rise by this factor at most."""

RANDOM_SETS = 3

SEEDS = range(5)
BLIND_SEEDS = range(5, 10)
BLIND_METHODS = ("grad_dot", "path")
FRESH = {
    "target_x": "culture filmmaking storytelling novel epic examination poetry meditation",
    "target_y": "cliches comedies teen episode monster chase sitcom stunts",
    "attribute_a": "intelligent sweet fine perfect terrific intriguing satisfying engrossing thoughtful witty "
    "excellent gorgeous memorable refreshing",
    "attribute_b": "thin wrong unfunny cheap forced generic worse routine mediocre depressing superficial nonsense "
    "ridiculous formulaic",
}
"""Serious / genre films with pleasant / unpleasant words; each occurs at least thirteen times, `stunts` twelve."""

OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "wordbias.json"


@dataclass(frozen=True)
class State:
    """A model after some steps: effect sizes by part and of `FRESH`, intrinsic losses per observed pair in nats."""

    effects: tuple[float, ...]
    fresh: float
    training_loss: float
    held_out_loss: float


@dataclass(frozen=True)
class Bench:
    """One trained set of embeddings with everything that is measured on it."""

    engine: Engine
    training: Corpus
    held_out: Corpus
    fresh: dict[str, Tensor]
    """Words and roles (1, W) of the test of `FRESH`."""

    @property
    def task(self) -> Task:
        """Its task."""
        return self.engine.task

    def effects(self, model: nn.Module) -> list[float]:
        """Effect size of a model by part."""
        rows = [self.task.ids("test").index(test_id(ASSOCIATION, part, part)) for part in PARTS]
        return self._sizes(model, batch_of(self.task, "test", rows).inputs)

    def _sizes(self, model: nn.Module, inputs: Inputs) -> list[float]:
        with torch.no_grad():
            logits = self.task.logits(model, inputs)
        sizes: list[float] = (logits[:, 1] - logits[:, 0] + BIASED_FROM).tolist()
        return sizes

    def state(self, model: nn.Module) -> State:
        """Measure a model."""
        return State(
            effects=tuple(self.effects(model)),
            fresh=self._sizes(model, self.fresh)[0],
            training_loss=intrinsic_loss(self.task, model, self.training),
            held_out_loss=intrinsic_loss(self.task, model, self.held_out),
        )


def intrinsic_loss(task: Task, model: nn.Module, sentences: Corpus) -> float:
    """Skip-gram loss per observed pair, in nats."""
    total = 0.0
    for rows in torch.arange(len(sentences.rows)).split(512):
        inputs = {name: tensor[rows].to(torch.int64) for name, tensor in sentences.tensors.items()}
        with torch.no_grad():
            loss = task.loss(task.logits(model, inputs), torch.zeros(len(rows), dtype=torch.int64))
        total += float(loss.sum())
    return total / sentences.pairs


def steps_apart(
    bench: Bench, up: Sequence[int], down: Sequence[int], steps: int = MOST_STEPS
) -> list[nn.Module]:
    """The model after 0, 1, ..., ``steps`` steps up the mean loss of some sentences and down that of others.

    Ends before the first step that costs more training loss than `LOSS_BUDGET`.
    """
    task = bench.task
    against, along = (batch_of(task, "train", rows) for rows in (up, down))
    models = [task.model.eval()]
    budget = LOSS_BUDGET * intrinsic_loss(task, models[0], bench.training)
    for _ in range(steps):
        patched = copy.deepcopy(models[-1])
        parameters = list(patched.parameters())
        difference = (
            task.loss(task.logits(patched, along.inputs), along.labels).mean()
            - task.loss(task.logits(patched, against.inputs), against.labels).mean()
        )
        gradients = torch.autograd.grad(difference, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=STEP_SIZE)
        if intrinsic_loss(task, patched, bench.training) > budget:
            break
        models.append(patched)
    return models


def scores(bench: Bench, method: str, parts: Sequence[int]) -> Tensor:
    """Influence (N,) on the mean effect size of all tests whose targets and attributes are of these parts."""
    tests = [test_id(ASSOCIATION, targets, attributes) for targets in parts for attributes in parts]
    return torch.from_numpy(bench.engine.scores(tests, method=method).mean(axis=0))


def chosen_steps(bench: Bench, method: str) -> int:
    """The number of steps that leaves least bias on part 2 with part 1 selecting, and the other way round."""
    left = []
    for selecting, watched in ((1, 2), (2, 1)):
        models = steps_apart(bench, *both_ends(scores(bench, method, [selecting])))
        left.append([abs(bench.effects(model)[watched - 1]) for model in models])
    both = [sum(pair) for pair in zip(*left, strict=False)]
    return both.index(min(both))


def undone(bench: Bench, method: str, seed: int) -> dict[str, Any]:
    """The bias undone by one method, with its control."""
    steps = chosen_steps(bench, method)
    selected = scores(bench, method, [1, 2])
    models = steps_apart(bench, *both_ends(selected), steps)
    controls = []
    for number in range(RANDOM_SETS):
        random = torch.rand(len(selected), generator=torch.Generator().manual_seed(1000 * seed + number))
        controls.append(bench.state(steps_apart(bench, *both_ends(random), len(models) - 1)[-1]))
    return {
        "method": method,
        "seed": seed,
        "steps": len(models) - 1,
        "before": asdict(bench.state(models[0])),
        "after": asdict(bench.state(models[-1])),
        "random": [asdict(state) for state in controls],
    }


def both_ends(scores: Tensor) -> tuple[list[int], list[int]]:
    """Positions of the `EACH_SIGN` highest and of the `EACH_SIGN` lowest scores."""
    return scores.topk(EACH_SIGN).indices.tolist(), (-scores).topk(EACH_SIGN).indices.tolist()


def on_part_3(state: dict[str, Any]) -> float:
    """|WEAT| on part 3."""
    return abs(float(state["effects"][2]))


def on_fresh_words(state: dict[str, Any]) -> float:
    """|WEAT| of `FRESH`."""
    return abs(float(state["fresh"]))


def summary(runs: Sequence[dict[str, Any]], left_of: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
    """Means over the seeds: what is left of |WEAT|, and what it costs."""
    left = [left_of(run["after"]) / left_of(run["before"]) for run in runs]
    return {
        "before": float(np.mean([left_of(run["before"]) for run in runs])),
        "after": float(np.mean([left_of(run["after"]) for run in runs])),
        "random_after": float(np.mean([left_of(c) for run in runs for c in run["random"]])),
        "seeds_halved": sum(value <= 0.5 for value in left),
        "seeds": len(runs),
        "steps": [run["steps"] for run in runs],
        "training_loss_change": float(
            np.mean([run["after"]["training_loss"] / run["before"]["training_loss"] - 1 for run in runs])
        ),
        "held_out_loss_change": float(
            np.mean([run["after"]["held_out_loss"] / run["before"]["held_out_loss"] - 1 for run in runs])
        ),
        "random_training_loss_change": float(
            np.mean(
                [
                    c["training_loss"] / run["before"]["training_loss"] - 1
                    for run in runs
                    for c in run["random"]
                ]
            )
        ),
    }


def bench_of(directory: Path, seed: int) -> Bench:
    """Train and prepare the sample with another seed."""
    wordbias.create(directory, seed=seed)
    project = Project.open(directory)
    prepare(project, device="cpu")
    texts = [
        pd.read_parquet(wordbias.SENTENCES.with_name(f"{split}.parquet"))["text"].tolist()
        for split in ("train", "test")
    ]
    vocabulary = Vocabulary.of(texts[0])
    training, held_out = (corpus(split, vocabulary, wordbias.SEED) for split in texts)
    numbers = {word: 1 + row for row, word in enumerate(vocabulary.words)}
    asked = test_inputs({role: words.split() for role, words in FRESH.items()}, numbers)
    fresh = {name: tensor.unsqueeze(0) for name, tensor in asked.items()}
    return Bench(Engine(project, device="cpu"), training, held_out, fresh)


def figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What is written of the seeds that the procedure was developed on."""
    return {
        "selected": 2 * EACH_SIGN,
        "step_size": STEP_SIZE,
        "summary": {name: summary(of_method(runs, name), on_part_3) for name in METHODS},
        "runs": runs,
    }


def blind_figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What is written of the blind check: on the fresh words, and on part 3 of the same seeds."""
    return {
        "words": FRESH,
        "summary": {name: summary(of_method(runs, name), on_fresh_words) for name in BLIND_METHODS},
        "summary_part_3": {name: summary(of_method(runs, name), on_part_3) for name in BLIND_METHODS},
        "runs": runs,
    }


def of_method(runs: Sequence[dict[str, Any]], method: str) -> list[dict[str, Any]]:
    """The runs of one method."""
    return [run for run in runs if run["method"] == method]


def runs_of(seeds: Sequence[int], methods: Sequence[str]) -> list[dict[str, Any]]:
    """The bias undone for each seed of the embeddings by each method."""
    runs: list[dict[str, Any]] = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as scratch:
            bench = bench_of(Path(scratch) / "wordbias", seed)
            for method in methods:
                runs.append(undone(bench, method, seed))
                print(json.dumps(runs[-1]), flush=True)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["developed", "blind"])
    options = parser.parse_args()
    found = json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.exists() else {}
    if options.only != "blind":
        found |= figures(runs_of(SEEDS, METHODS))
    if options.only != "developed":
        found["blind"] = blind_figures(runs_of(BLIND_SEEDS, BLIND_METHODS))
    OUTPUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    summaries = {"developed": found, "blind": found.get("blind", {})}
    print(json.dumps({name: part.get("summary") for name, part in summaries.items()}, indent=1))


if __name__ == "__main__":
    main()
