"""`prepare`: everything about a project that later questions need, computed once and stored beside it."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from attribution import frozen
from attribution.batches import labels_of
from attribution.capture import GradientCapture
from attribution.devices import check_precision, resolve_device
from attribution.display import example_table
from attribution.errors import MissingRequirementError, ProjectError, UsageError
from attribution.index import IndexPlan, build_point, plan_index
from attribution.index.store import ARRAYS, DESCRIPTION, array_file
from attribution.methods import ProjectFacts, method_named
from attribution.predictions import predict, prediction_table
from attribution.progress import SILENT, Reporter
from attribution.projects import Project
from attribution.projects.files import replacing, write_text
from attribution.projects.project import PREPARED_FORMAT
from attribution.projects.stamps import Stamp, stamp
from attribution.representation import head_name
from attribution.sources import load_task
from attribution.task import Task
from attribution.trajectory import Point, Trajectory

TEXT_BATCH, TENSOR_BATCH = 32, 128
"""Examples per gradient batch: short texts differ in length, and long batches of them pad more than they save."""


def prepare(
    project: Project,
    *,
    methods: list[str] | None = None,
    device: str = "auto",
    precision: str = "fp32",
    reporter: Reporter = SILENT,
) -> None:
    """Store predictions, examples as shown, and the gradient index. Does nothing where this is done already.

    Work that was cut off goes on at the point of the run where it stopped. ``prepared.json`` is written last: a
    project without it counts as not prepared.

    Raises:
        ProjectError: model or data cannot be read, or the folder cannot be written.
        NumericalError: the model gives NaN or infinity.
        Cancelled: the user asked for a stop.
    """
    check_precision(precision)
    for name in methods or []:
        method_named(name)
    if project.prepared:
        return
    where = resolve_device(device)
    with _exclusive(project, reporter):
        if project.prepared:  # another process may have finished while this one waited
            return
        _Preparation(project, where, precision, reporter).run()


def gradient_batch_size(task: Task) -> int:
    """Examples per gradient batch for this kind of data."""
    first = task.dataset("train")[0][0]
    return TEXT_BATCH if isinstance(first, dict) and "input_ids" in first else TENSOR_BATCH


class _Preparation:
    def __init__(self, project: Project, device: torch.device, precision: str, reporter: Reporter) -> None:
        self._project = project
        self._device = device
        self._precision = precision
        self._reporter = reporter
        self._directory = project.prepared_directory

    def run(self) -> None:
        started = time.perf_counter()
        report = self._reporter
        report(0.0, "Loading the model and its data")
        sources = {name: stamp(file) for name, file in self._project.source_files().items()}
        task = load_task(self._project)
        _check_labels(task)
        trajectory = Trajectory(task, self._device)
        model = trajectory.model_at(trajectory.final)
        head, problem = _head(task, model)
        plan = plan_index(GradientCapture(task, model).shapes, task.size("train"), len(trajectory.points))
        self._resume_or_clear(sources, plan)

        kind = self._write_examples(task, report.share(0.02, 0.06))
        frozen.build(
            task,
            model,
            self._directory / "frozen",
            device=self._device,
            batch_size=gradient_batch_size(task),
            reporter=report.share(0.06, 0.2),
        )
        test_table = self._predict_test(task, trajectory, head, report.share(0.2, 0.25))
        train_table = self._build_index(task, trajectory, head, plan, report.share(0.25, 0.99))

        facts = ProjectFacts(
            checkpoints=len(task.checkpoints),
            learning_rates=tuple(float(c.learning_rate) for c in task.checkpoints),
            optimizer=task.optimizer,
            head=head,
            head_is_linear=head is not None and isinstance(model.get_submodule(head), nn.Linear),
            head_problem=problem,
        )
        files = {p.name: p.stat().st_size for p in sorted(self._directory.glob("*.parquet"))}
        for folder in ("index", "frozen"):
            stored = sorted((self._directory / folder).glob("*.npy"))
            files |= {f"{folder}/{p.name}": p.stat().st_size for p in stored}
        record = {
            "format": PREPARED_FORMAT,
            "recipe": self._project.recipe(),
            "sources": sources,
            "class_names": list(task.class_names),
            "kind": kind,
            "n_train": task.size("train"),
            "n_test": task.size("test"),
            "accuracy": float((test_table["label"] == test_table["predicted"]).mean()),
            "train_accuracy": float((train_table["label"] == train_table["predicted"]).mean()),
            "device": str(self._device),
            "precision": self._precision,
            "seconds": round(time.perf_counter() - started, 3),
            "facts": asdict(facts),
            "files": files,
        }
        write_text(self._directory / "prepared.json", json.dumps(record, indent=2) + "\n")
        report(1.0, "Ready")

    def _resume_or_clear(self, sources: dict[str, Stamp], plan: IndexPlan) -> None:
        """Keep what an interrupted run of the same work left; delete anything else."""
        wanted = json.dumps(
            {
                "recipe": self._project.recipe(),
                "sources": {name: found["sha256"] for name, found in sources.items()},
                "precision": self._precision,
                "plan": plan.description(),
            }
        )
        marker = self._directory / "building.json"
        try:
            same = marker.read_text(encoding="utf-8") == wanted
        except (OSError, UnicodeDecodeError):
            same = False
        if not same and self._directory.exists():
            shutil.rmtree(self._directory)
        for leftover in self._directory.glob("**/.*.part"):
            leftover.unlink()
        (self._directory / "prepared.json").unlink(missing_ok=True)
        write_text(marker, wanted)
        write_text(self._directory / "index" / DESCRIPTION, json.dumps(plan.description(), indent=2) + "\n")

    def _write_examples(self, task: Task, reporter: Reporter) -> str:
        kinds = []
        for number, split in enumerate(("train", "test")):
            table, kind = example_table(task, split, reporter.share(number / 2, (number + 1) / 2))
            _write_table(table, self._directory / f"{split}_examples.parquet")
            kinds.append(kind)
        return kinds[0] if kinds[0] == kinds[1] else "other"

    def _predict_test(
        self, task: Task, trajectory: Trajectory, head: str | None, reporter: Reporter
    ) -> pd.DataFrame:
        model = trajectory.model_at(trajectory.final)
        logits, representations = predict(
            task,
            model,
            "test",
            head=head,
            device=self._device,
            batch_size=gradient_batch_size(task),
            reporter=reporter,
            message=f"Predicting {task.size('test'):,} test examples",
        )
        _check_classes(task, logits)
        if representations is not None:
            with (
                replacing(self._directory / "test_representations.npy") as temporary,
                temporary.open("wb") as file,
            ):
                np.save(file, representations.numpy())
        table = prediction_table(task, "test", logits, labels_of(task, "test"))
        _write_table(table, self._directory / "test_predictions.parquet")
        return table

    def _build_index(
        self, task: Task, trajectory: Trajectory, head: str | None, plan: IndexPlan, reporter: Reporter
    ) -> pd.DataFrame:
        directory = self._directory / "index"
        for done, point in enumerate(trajectory.points):
            share = reporter.share(done / len(trajectory.points), (done + 1) / len(trajectory.points))
            if not self._point_done(directory, point, head):
                build_point(
                    task,
                    trajectory,
                    point,
                    head,
                    plan,
                    directory,
                    device=self._device,
                    precision=self._precision,
                    batch_size=gradient_batch_size(task),
                    reporter=share,
                )
        logits = torch.from_numpy(np.load(array_file(directory, trajectory.final.number, "logits")))
        table = prediction_table(task, "train", logits, labels_of(task, "train"))
        _write_table(table, self._directory / "train_predictions.parquet")
        return table

    @staticmethod
    def _point_done(directory: Path, point: Point, head: str | None) -> bool:
        wanted = [name for name in ARRAYS if head is not None or name != "representations"]
        return all(array_file(directory, point.number, name).exists() for name in wanted)


def _head(task: Task, model: nn.Module) -> tuple[str | None, str]:
    try:
        return head_name(task, model), ""
    except MissingRequirementError as error:
        return None, str(error)


def _check_labels(task: Task) -> None:
    for split in ("train", "test"):
        if task.size(split) == 0:
            raise UsageError(f"The {split} data is empty: give at least one example.")
        labels = labels_of(task, split)
        wrong = torch.nonzero((labels < 0) | (labels >= len(task.class_names)))
        if len(wrong):
            position = int(wrong[0])
            raise UsageError(
                f"The {split} example '{task.ids(split)[position]}' has the label {int(labels[position])}: labels must "
                f"be class numbers 0 to {len(task.class_names) - 1}."
            )


def _check_classes(task: Task, logits: Tensor) -> None:
    if logits.dim() != 2 or logits.shape[1] != len(task.class_names):
        raise UsageError(
            f"The model gives {logits.shape[-1]} logits for {len(task.class_names)} class names: give one name each."
        )


def _write_table(table: pd.DataFrame, file: Path) -> None:
    with replacing(file) as temporary:
        table.to_parquet(temporary)


class _exclusive:  # noqa: N801  (reads as a verb phrase in a with statement)
    """Only one process prepares a project; others wait for it and stay cancellable."""

    def __init__(self, project: Project, reporter: Reporter) -> None:
        self._project = project
        self._lock = FileLock(project.directory / ".prepare.lock")
        self._reporter = reporter

    def __enter__(self) -> None:
        while True:
            try:
                self._lock.acquire(timeout=0.5)
                return
            except Timeout:
                self._reporter(0.0, "Waiting: another process is preparing this project")
            except OSError as error:
                raise ProjectError(
                    f"Cannot write to '{self._project.directory}' ({error.strerror or error}): make the folder "
                    "writable, or copy the project elsewhere."
                ) from error

    def __exit__(self, *details: Any) -> None:
        self._lock.release()
