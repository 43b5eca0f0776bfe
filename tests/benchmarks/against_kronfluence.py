"""Agreement and speed against kronfluence 1.0.1, whose EK-FAC scores are the reference in the field.

    TRACEFIX_PEERS_PYTHON=/path/to/python python tests/benchmarks/against_kronfluence.py

The other Python needs kronfluence and what Tracefix needs. Agreement: an MLP and a small ConvNet on random data, both
sides with the empirical Fisher (sampled labels would differ by chance) and the same damping. Speed: one query on the
`fashion` sample with everything fitted, CPU time of one thread; kronfluence passes through the training data for it.
Writes docs/against_kronfluence.json.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers.process import run

OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "against_kronfluence.json"
EXAMPLES, QUERIES, DAMPING = 600, 20, 1e-3
TIMED_QUERIES = 5


def measured() -> dict[str, Any]:
    """Everything; runs where kronfluence is."""
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    return {"agreement": agreement(), "fashion": speed()}


def agreement() -> dict[str, float]:
    """Correlation of the scores (EXAMPLES × QUERIES) by model."""
    import torch
    from torch import nn
    from torch.utils.data import TensorDataset

    from attribution import Task
    from attribution.batches import batch_of
    from attribution.capture import GradientCapture
    from attribution.curvature import fit_ekfac

    found = {}
    models: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {
        "mlp": lambda: (
            nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
            torch.randn(EXAMPLES + QUERIES, 64),
        ),
        "convnet": lambda: (
            nn.Sequential(
                nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
                nn.Flatten(), nn.Linear(144, 10),
            ),
            torch.randn(EXAMPLES + QUERIES, 1, 16, 16),
        ),
    }  # fmt: skip
    for name, build in models.items():
        torch.manual_seed(0)
        model, inputs = build()
        labels = torch.randint(0, 10, (len(inputs),))
        train = TensorDataset(inputs[:EXAMPLES], labels[:EXAMPLES])
        test = TensorDataset(inputs[EXAMPLES:], labels[EXAMPLES:])
        task = Task(model=model.eval(), train=train, test=test, class_names=[str(c) for c in range(10)])
        capture = GradientCapture(task, model)
        curvature = fit_ekfac(task, capture, batch_size=EXAMPLES, probe="empirical")
        queries, examples = (
            batch_of(task, split, range(count)) for split, count in (("test", QUERIES), ("train", EXAMPLES))
        )
        asked = capture.gradients(queries.inputs, queries.labels, task.loss).dense()
        solved = curvature.inverse(asked, DAMPING)
        ours = capture.gradients(examples.inputs, examples.labels, task.loss).dot(solved)
        with tempfile.TemporaryDirectory() as folder:
            analyzer = analyzer_of(model, folder)
            fit(analyzer, train, empirical=True)
            theirs = pairwise(analyzer, train, test, DAMPING)["all_modules"].T
        found[name] = float(torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1])
    return found


def speed() -> dict[str, float]:
    """Seconds of a query on both sides."""
    import torch
    from peers.models import Logits
    from torch.utils.data import Subset

    from attribution import Engine, Project, prepare
    from attribution.sources import load_task
    from sample_models import SAMPLES

    with tempfile.TemporaryDirectory() as folder:
        SAMPLES["fashion"].create(Path(folder) / "fashion")
        project = Project.open(Path(folder) / "fashion")
        prepare(project, methods=["ekfac", "path"], device="cpu")
        engine = Engine(Project.open(project.directory), device="cpu")
        wrong = [row["id"] for row in project.mispredictions()][: TIMED_QUERIES + 1]
        ours: dict[str, float] = {}
        for method in ("ekfac", "path"):
            engine.explain(wrong[0], method=method)
            started = time.process_time()
            for test in wrong[1:]:
                engine.explain(test, method=method)
            ours[method] = (time.process_time() - started) / TIMED_QUERIES
        task = load_task(project)
        analyzer = analyzer_of(Logits(task.model), folder)
        fit(analyzer, task.train, empirical=False)
        position = project.position("test", wrong[1])
        started = time.process_time()
        pairwise(analyzer, task.train, Subset(task.test, [position]), None)
        theirs = time.process_time() - started
    del torch
    return {
        "ekfac_seconds": ours["ekfac"],
        "path_seconds": ours["path"],
        "kronfluence_seconds": theirs,
        "ekfac_share": ours["ekfac"] / theirs,
        "path_share": ours["path"] / theirs,
    }


def analyzer_of(model: Any, folder: str) -> Any:
    """kronfluence's analyzer of a classifier with cross-entropy."""
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.task import Task as PeerTask
    from torch.nn import functional

    class Classification(PeerTask):
        def compute_train_loss(self, batch: Any, model: Any, sample: bool = False) -> Any:
            logits = model(batch[0])
            labels = logits.detach().softmax(dim=1).multinomial(1).squeeze(1) if sample else batch[1]
            return functional.cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch: Any, model: Any) -> Any:
            return functional.cross_entropy(model(batch[0]), batch[1], reduction="sum")

    import copy

    task = Classification()
    prepared = prepare_model(copy.deepcopy(model).eval(), task)
    return Analyzer(
        "peer", prepared, task, cpu=True, disable_tqdm=True, disable_model_save=True, output_dir=folder
    )


def fit(analyzer: Any, train: Any, *, empirical: bool) -> None:
    """Fit its EK-FAC factors."""
    from kronfluence.arguments import FactorArguments

    analyzer.fit_all_factors(
        "factors", train, per_device_batch_size=256, overwrite_output_dir=True,
        factor_args=FactorArguments(strategy="ekfac", use_empirical_fisher=empirical),
    )  # fmt: skip


def pairwise(analyzer: Any, train: Any, test: Any, damping: float | None) -> Any:
    """Its scores of all training examples for all test examples."""
    from kronfluence.arguments import ScoreArguments

    analyzer.compute_pairwise_scores(
        "scores", "factors", query_dataset=test, train_dataset=train, per_device_query_batch_size=64,
        per_device_train_batch_size=256, overwrite_output_dir=True,
        score_args=ScoreArguments(damping_factor=damping),
    )  # fmt: skip
    return analyzer.load_pairwise_scores("scores")


if __name__ == "__main__":
    run(__file__, "kronfluence", measured, OUTPUT)
