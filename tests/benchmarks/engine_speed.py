"""What the engine costs on the `fashion` sample, as shares of a plain training epoch, and how it grows with the data.

    python tests/benchmarks/engine_speed.py [FASHION_MNIST_FOLDER]

CPU time of one thread throughout, the smallest of some repetitions, so that other work on the machine counts little. An
epoch is forward, backward and optimizer step over the same 6,144 examples in batches of 64 (the sample's own). Growth
is measured with a small convolutional network on 2,000 to 60,000 of the original Fashion-MNIST files, each size in a
process of its own; it is left out where no folder is given and TRACEFIX_FASHION_MNIST is not set. Writes
docs/engine_speed.json.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from attribution import Engine, Project, Task, prepare
from attribution.batches import batches, evaluation_copy
from attribution.capture import GradientCapture, gradient_stream
from attribution.curvature import fit_ekfac
from attribution.curvature.store import fitted_on
from attribution.scoring import RERANKED, strongest
from attribution.sources import load_task
from attribution.task import cross_entropy
from attribution.trajectory import Trajectory
from sample_models import SAMPLES

OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "engine_speed.json"
SIZES = (2000, 4000, 8000, 16000, 60000)
QUERIES = 20


def seconds_of(work: Callable[[], object], times: int = 3) -> float:
    """Smallest CPU time of some repetitions."""
    taken = []
    for _ in range(times):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


def epoch_seconds(task: Task, batch_size: int) -> float:
    """One plain training epoch over the training data."""
    model = evaluation_copy(task, "cpu").train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0, momentum=0.9)

    def epoch() -> None:
        for batch in batches(task, "train", batch_size):
            optimizer.zero_grad()
            cross_entropy(task.logits(model, batch.inputs), batch.labels).mean().backward()
            optimizer.step()

    return seconds_of(epoch)


def prepare_anew(project: Project, methods: list[str]) -> None:
    """Prepare a project as if for the first time."""
    shutil.rmtree(project.prepared_directory, ignore_errors=True)
    prepare(project, methods=methods, device="cpu")


def fashion(folder: Path) -> dict[str, Any]:
    """Cost of preparing and asking, and how much of the truth the compressed index finds."""
    directory = folder / "fashion"
    SAMPLES["fashion"].create(directory)
    project = Project.open(directory)
    task = load_task(project)
    result: dict[str, Any] = {"epoch_seconds": epoch_seconds(task, task.batch_size)}
    epoch = result["epoch_seconds"]

    for name, methods in (("prepare_ekfac", ["ekfac"]), ("prepare_path", ["path"])):
        taken = seconds_of(lambda methods=methods: prepare_anew(project, methods))
        result[name] = {"seconds": taken, "epochs": taken / epoch}

    engine = Engine(Project.open(directory), device="cpu")
    loaded = engine._loaded
    coordinates = loaded.index.coordinates(loaded.trajectory.final.number)
    capture = GradientCapture(task, loaded.trajectory.model_at(loaded.trajectory.final))

    def index_pass() -> None:
        stream = gradient_stream(
            task, capture, lambda positions: task.loss, batch_size=loaded.batch_size, device="cpu"
        )
        for _, gradients in stream:
            coordinates.rows(gradients).half()
            gradients.norm_squared()

    def fit() -> None:
        positions, draws = fitted_on(task)
        fit_ekfac(task, capture, batch_size=loaded.batch_size, positions=positions, draws=draws)

    parts = {"index_pass": index_pass, "fit": fit, "load": lambda: load_task(project)}
    for name, part in parts.items():
        taken = seconds_of(part)
        result[name] = {"seconds": taken, "epochs": taken / epoch}
    result["index"] = {
        "width": loaded.index.plan.width,
        "bytes": sum(file.size for file in loaded.index.ledger.files.values()),
        "points": sum(loaded.index.has(point.number) for point in loaded.trajectory.points),
    }
    wrong = [row["id"] for row in project.mispredictions()]
    chosen = wrong[:: max(len(wrong) // QUERIES, 1)][:QUERIES]
    for method in ("ekfac", "path"):
        result[f"query_{method}"] = queries(engine, method, chosen)
    return result


def queries(engine: Engine, method: str, chosen: list[str]) -> dict[str, Any]:
    """Seconds of a question, with and without the exact re-rank, and recall@50 of its list."""
    engine.explain(chosen[0], method=method, measurement="loss")  # opens and checks every shard
    alone = [seconds_of(lambda test=test: engine.scores([test], method=method), times=2) for test in chosen]
    whole, recall, correlation = [], [], []
    for test in chosen:
        started = time.process_time()
        engine.explain(test, method=method)
        whole.append(time.process_time() - started)
        exact = engine.explain(test, method=method, use_index=False).scores
        indexed = engine.scores([test], method=method)[0]
        best = set(np.argsort(-np.abs(exact))[:50].tolist())
        recall.append(len(best & set(strongest(torch.from_numpy(indexed), RERANKED).tolist())) / 50)
        correlation.append(float(np.corrcoef(exact, indexed)[0, 1]))
    return {
        "index_seconds": float(np.median(alone)),
        "with_rerank_seconds": float(np.median(whole)),
        "recall_at_50": float(np.mean(recall)),
        "recall_at_50_lowest": float(np.min(recall)),
        "correlation": float(np.mean(correlation)),
    }


class Pictures(torch.utils.data.Dataset[Any]):
    """Fashion-MNIST pictures with labels."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels = pixels
        self.labels = labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        return self.pixels[position : position + 1].float() / 255, self.labels[position]


def network() -> nn.Sequential:
    """A small convolutional network, (B, 1, 28, 28) -> (B, 10), 20,490 parameters."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(800, 18), nn.ReLU(), nn.Linear(18, 10),
    )  # fmt: skip


def grown(size: int, originals: Path, folder: Path) -> dict[str, float]:
    """Prepare a project with so many training examples: CPU seconds and peak memory of this process."""
    from sample_models.fashion_training import read_idx

    pixels = torch.from_numpy(read_idx(originals / "train-images-idx3-ubyte.gz"))[:size].clone()
    labels = torch.from_numpy(read_idx(originals / "train-labels-idx1-ubyte.gz").astype(np.int64))[:size]
    data = Pictures(pixels, labels)

    from attribution.batches import gradient_batch_size
    from attribution.curvature import CurvatureStore
    from attribution.index import GradientIndex, IndexBuilder, IndexPlan
    from attribution.projects.ledger import Ledger

    task = Task(
        model=network(), train=data, test=Pictures(pixels[:10], labels[:10]),
        class_names=[str(c) for c in range(10)], learning_rate=0.05, steps=1000,
    )  # fmt: skip
    trajectory = Trajectory(task)
    plan = IndexPlan(2048, "float16")
    ledger = Ledger(folder, {"plan": plan.description(), "examples": size}, {})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    builder = IndexBuilder(
        task, trajectory, CurvatureStore(task, trajectory, ledger, "cpu", gradient_batch_size(task)), None, plan,
        ledger, device="cpu", precision="fp32", batch_size=gradient_batch_size(task),
    )  # fmt: skip
    builder.build(trajectory.final, _silent())
    built = time.process_time() - started
    index = GradientIndex(ledger)
    query = torch.randn(1, index.coordinates(0).width)
    index.dots(0, query)
    asked = seconds_of(lambda: index.dots(0, query))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "build_seconds": built,
        "query_seconds": asked,
        "peak_mb": after / 1024,
        "before_mb": before / 1024,
    }


def _silent() -> Any:
    from attribution.progress import SILENT

    return SILENT


def growth(originals: Path) -> dict[str, dict[str, float]]:
    """`grown` for each size, in a process of its own."""
    results = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--grown", str(size), str(originals), folder]
            found = subprocess.run(command, check=True, capture_output=True, text=True)
        results[str(size)] = json.loads(found.stdout)
        print(size, results[str(size)], flush=True)
    return results


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--grown"]:
        print(json.dumps(grown(int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))))
        return
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("TRACEFIX_FASHION_MNIST")
    with tempfile.TemporaryDirectory() as folder:
        results: dict[str, Any] = {"fashion": fashion(Path(folder))}
    print(json.dumps(results, indent=2), flush=True)
    if given:
        results["growth"] = growth(Path(given))
    OUTPUT.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
