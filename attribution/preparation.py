"""`prepare`: everything about a project that later questions need, computed once and stored beside it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from attribution import frozen
from attribution.batches import gradient_batch_size, labels_of
from attribution.capture import GradientCapture
from attribution.cost import estimate
from attribution.curvature import CurvatureStore
from attribution.curvature.store import FITTED_ON
from attribution.devices import check_precision, resolve_device
from attribution.display import example_table
from attribution.errors import MissingRequirementError, ProjectError
from attribution.held_out import store_held_out
from attribution.index import GradientIndex, IndexBuilder, IndexPlan, plan_index
from attribution.measurements import one_line
from attribution.methods import ProjectFacts, default_method, method_named
from attribution.predictions import predict, prediction_table
from attribution.progress import SILENT, Reporter
from attribution.projects import Project
from attribution.projects.access import check_may_change
from attribution.projects.files import replacing, write_text
from attribution.projects.ledger import Ledger
from attribution.projects.locking import exclusive
from attribution.projects.project import PREPARED_FORMAT
from attribution.projects.stamps import Stamp, stamp
from attribution.representation import head_name
from attribution.sources import load_task
from attribution.task import Task
from attribution.trajectory import Trajectory
from attribution.trial import check_labels, check_logits
from attribution.turnover import turnover_layers

INDEX, FROZEN = "index", "frozen"
"""Folders within the prepared directory."""


def prepare(
    project: Project,
    *,
    methods: Sequence[str] | None = None,
    device: str = "auto",
    precision: str = "fp32",
    reporter: Reporter = SILENT,
) -> None:
    """Store predictions, examples as shown, curvature and the gradient index, as far as ``methods`` need them.

    Does nothing where this is done already and intact. Work that was cut off goes on at the shard where it stopped.
    ``prepared.json`` is written last: a project without it counts as not prepared.

    Args:
        methods: names; the default method alone where None. Other methods complete the index when they are first used.

    Raises:
        NotFoundError: no such method.
        ProjectError: model or data cannot be read, or the folder cannot be written.
        NumericalError: the model gives NaN or infinity.
        ReadOnlyError: whoever asks may change nothing.
        Cancelled: the user asked for a stop.
    """
    check_precision(precision)
    for name in methods or []:
        method_named(name)
    if project.prepared and _covers(project, methods):
        return
    check_may_change(f"prepare '{project.name}'")
    where = resolve_device(device)
    with exclusive(project.directory, reporter):
        if project.prepared and _covers(project, methods):  # another process may have finished meanwhile
            return
        _Preparation(project, methods, where, precision, reporter).run()


def needed_points(facts: ProjectFacts, methods: Sequence[str] | None) -> list[int]:
    """Numbers of the points of the run that the index has to cover, the final model first."""
    chosen = [method_named(name) for name in (methods or [default_method(facts)])]
    wanted = {point for method in chosen if method.missing(facts) is None for point in method.points(facts)}
    return [facts.final, *sorted(wanted - {facts.final})]


def _covers(project: Project, methods: Sequence[str] | None) -> bool:
    """Whether the index of a prepared project has all the points that the methods need, with their checksums right."""
    try:
        index = GradientIndex(Ledger.read(project.prepared_directory / INDEX))
        if index.ledger.drop_damaged():
            return False
        return all(index.has(point) for point in needed_points(ProjectFacts.of(project), methods))
    except ProjectError:
        return False


class _Preparation:
    def __init__(
        self,
        project: Project,
        methods: Sequence[str] | None,
        device: torch.device,
        precision: str,
        reporter: Reporter,
    ) -> None:
        self._project = project
        self._methods = methods
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
        check_labels(task)
        trajectory = Trajectory(task, self._device)
        model = trajectory.model_at(trajectory.final)
        covered = {p.number for p in (*trajectory.followed, *trajectory.traced, trajectory.final)}
        plan = plan_index(GradientCapture(task, model).shapes, task.size("train"), len(covered))
        ledger = self._resume_or_clear(sources, plan, task.size("train"))

        kind = self._write_examples(task, report.share(0.02, 0.06))
        facts = facts_of(task, trajectory, kind)
        batch_size = gradient_batch_size(task)
        frozen.build(
            task,
            model,
            self._directory / FROZEN,
            device=self._device,
            batch_size=batch_size,
            reporter=report.share(0.06, 0.2),
        )
        test_table = self._predict_test(task, trajectory, facts.head, report.share(0.2, 0.25))
        builder = IndexBuilder(
            task,
            trajectory,
            CurvatureStore(task, trajectory, ledger, self._device, batch_size),
            facts.head,
            plan,
            ledger,
            device=self._device,
            precision=self._precision,
            batch_size=batch_size,
        )
        points = needed_points(facts, self._methods)
        if self._missing(ledger, points):
            cost = estimate(
                task, trajectory, plan, points=len(points), fitted_on=FITTED_ON, batch_size=batch_size
            )
            report(0.25, f"The gradient index will take {cost.words}")
        for done, number in enumerate(points):
            share = report.share(0.25 + 0.74 * done / len(points), 0.25 + 0.74 * (done + 1) / len(points))
            builder.build(trajectory.point(number), share)
        index = GradientIndex(ledger)
        logits = index.array(facts.final, "logits")
        train_table = prediction_table(task, "train", logits, labels_of(task, "train"))
        if facts.head is not None:
            labels = train_table["label"].to_numpy()
            store_held_out(index, facts.final, labels, len(task.class_names), report.share(0.99, 1.0))
        _write_table(train_table, self._directory / "train_predictions.parquet")

        stored = [*self._directory.glob("*.parquet"), *self._directory.glob(f"{FROZEN}/*.npy")]
        stored += [self._directory / INDEX / name for name in ledger.files]
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
            "files": {str(p.relative_to(self._directory)): p.stat().st_size for p in sorted(stored)},
        }
        write_text(self._directory / "prepared.json", json.dumps(record, indent=2) + "\n")
        report(1.0, "Ready")

    @staticmethod
    def _missing(ledger: Ledger, points: list[int]) -> bool:
        index = GradientIndex(ledger)
        return not all(index.has(point) for point in points)

    def _resume_or_clear(self, sources: dict[str, Stamp], plan: IndexPlan, examples: int) -> Ledger:
        """The ledger of what an interrupted run of the same work left intact; anything else is deleted."""
        arguments = {
            "recipe": self._project.recipe(),
            "sources": {name: found["sha256"] for name, found in sources.items()},
            "versions": {name: _version(name) for name in ("tracefix", "torch")},
            "precision": self._precision,
            "plan": plan.description(),
            "curvature": CurvatureStore.description(),
            "examples": examples,
        }
        directory = self._directory / INDEX
        if not Ledger.made_from(directory, arguments) and self._directory.exists():
            self._check_generated(set(sources))
            shutil.rmtree(self._directory)
        for leftover in self._directory.glob("**/.*.part"):
            leftover.unlink()
        return Ledger.resumed(directory, arguments)

    def _check_generated(self, sources: set[str]) -> None:
        """Refuse to delete a folder that somebody else has filled, or that a part of the project itself lies in."""
        name = self._directory.name
        inside = next((source for source in sources if Path(source).parts[0] == name), None)
        ours = (self._directory / INDEX).exists() or (self._directory / "prepared.json").exists()
        if inside is not None or (not ours and any(self._directory.iterdir())):
            found = "files of your own" if inside is None else f"'{inside}', a part of the project"
            raise ProjectError(
                f"'{self._directory}' holds {found}, and everything in it would be replaced: give that folder another "
                "name."
            )

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
        check_logits(task, logits)
        if representations is not None:
            with (
                replacing(self._directory / "test_representations.npy") as temporary,
                temporary.open("wb") as file,
            ):
                np.save(file, representations.numpy())
        table = prediction_table(task, "test", logits, labels_of(task, "test"))
        _write_table(table, self._directory / "test_predictions.parquet")
        return table


def facts_of(task: Task, trajectory: Trajectory, kind: str) -> ProjectFacts:
    """What decides which methods can run; ``kind`` is what a person sees of an example: "text", "image" or "other"."""
    model = trajectory.model_at(trajectory.final)
    head, problem = _head(task, model)
    return ProjectFacts(
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        n_train=task.size("train"),
        kind=kind,
        checkpoints=len(task.checkpoints),
        learning_rates=tuple(float(c.learning_rate) for c in task.checkpoints),
        **trajectory.facts(),
        optimizer=task.optimizer,
        head=head,
        head_is_linear=head is not None and isinstance(model.get_submodule(head), nn.Linear),
        head_problem=problem,
        turnover=bool(turnover_layers(model)),
        models=1 + len(task.ensemble),
        measurements={name: one_line(function) for name, function in task.measurements.items()},
    )


def _head(task: Task, model: nn.Module) -> tuple[str | None, str]:
    try:
        return head_name(task, model), ""
    except MissingRequirementError as error:
        return None, str(error)


def _write_table(table: pd.DataFrame, file: Path) -> None:
    with replacing(file) as temporary:
        table.to_parquet(temporary)


def _version(package: str) -> str:
    """The version of a package; "unknown" where it runs from a checkout that nobody installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
