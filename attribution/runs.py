"""A training run in memory, ready to be asked: the project's own, or another of its ensemble."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attribution.batches import gradient_batch_size, labels_of, load_weights
from attribution.curvature import CurvatureStore
from attribution.frozen import frozen_alike
from attribution.held_out import store_held_out
from attribution.index import GradientIndex, IndexBuilder
from attribution.methods import Method, ProjectFacts
from attribution.preparation import INDEX
from attribution.progress import Reporter
from attribution.projects import Project
from attribution.projects.access import check_may_change
from attribution.projects.held_out import HeldOut
from attribution.projects.ledger import Ledger
from attribution.projects.locking import exclusive
from attribution.query import Loaded
from attribution.task import Task
from attribution.trajectory import Trajectory

MODELS = "models"
"""Folder within the prepared directory of what belongs to the further models, by number."""


@dataclass(frozen=True)
class Run:
    """One training run: what methods ask (``loaded``), and what decides which of them can (``facts``)."""

    project: Project
    facts: ProjectFacts
    loaded: Loaded
    _fitted: set[str] = field(default_factory=set)

    def complete(self, method: Method, reporter: Reporter) -> None:
        """Let the index cover the points of the run that a method looks at, and fit what else it needs.

        Raises:
            NumericalError: a loss or gradient is NaN or infinite.
            ProjectError: the folder cannot be written.
            ReadOnlyError: something is missing, and whoever asks may change nothing.
        """
        loaded = self.loaded
        missing = [number for number in method.points(self.facts) if not loaded.index.has(number)]
        fitted = method.info.name in self._fitted or type(method).fit is Method.fit
        if not missing and fitted:
            return
        if missing:  # better said now than after the first shard
            check_may_change(
                f"prepare the method '{method.info.name}', which this project was not prepared for"
            )
        with exclusive(self.project.directory, reporter):
            loaded.index.ledger.reload()
            builder = IndexBuilder(
                loaded.task,
                loaded.trajectory,
                loaded.curvature,
                self.facts.head,
                loaded.index.plan,
                loaded.index.ledger,
                device=loaded.device,
                precision=str(self.project.preparation["precision"]),
                batch_size=loaded.batch_size,
            )
            for done, number in enumerate(missing):
                share = reporter.share(done / (len(missing) + 1), (done + 1) / (len(missing) + 1))
                builder.build(loaded.trajectory.point(number), share)
            method.fit(loaded, reporter.share(len(missing) / (len(missing) + 1), 1.0))
            self._fitted.add(method.info.name)

    def representations(self) -> NDArray[np.float32] | None:
        """Representations (n_train, D) at the final model; None where it has no layer that reads them."""
        if self.facts.head is None:
            return None
        stored: NDArray[np.float32] = self.loaded.index.representations(self.facts.final).numpy()
        return stored

    def held_out(self, reporter: Reporter) -> HeldOut | None:
        """How probable each training label is for a model that was not shown it; None where there is no last layer.

        Computed when it is first asked for, then stored beside the index.

        Raises:
            NumericalError: the last layer could not be fitted.
            ProjectError: the folder cannot be written.
        """
        if self.project.held_out is None and self.facts.head is not None:
            with exclusive(self.project.directory, reporter):
                loaded = self.loaded
                loaded.index.ledger.reload()
                classes = len(loaded.task.class_names)
                store_held_out(loaded.index, self.facts.final, loaded.train_labels.numpy(), classes, reporter)
        return self.project.held_out


def own_run(project: Project, task: Task, device: torch.device | str) -> Run:
    """The run of the model that the project explains.

    Raises:
        ProjectError: the index is damaged.
    """
    ledger = Ledger.read(project.prepared_directory / INDEX)
    return _run(project, task, ProjectFacts.of(project), ledger, device)


def ensemble_runs(own: Run, device: torch.device | str) -> list[Run]:
    """The runs of the further models that the task ships, in order; their indexes fill when they are first asked.

    Raises:
        ProjectError: a model does not fit, or the folder cannot be written.
    """
    project, task = own.project, own.loaded.task
    runs = []
    for number, trained in enumerate(task.ensemble, start=1):
        model = copy.deepcopy(task.model)
        load_weights(model, trained, f"model {number} of the ensemble")
        member = replace(task, model=model, checkpoints=trained.checkpoints, ensemble=())
        # States of frozen layers hold only where those layers are the same.
        member.frozen = task.frozen if _same_frozen(task, member) else None
        arguments = {**own.loaded.index.ledger.arguments, "weights": _digest(member)}
        directory = project.prepared_directory / MODELS / str(number)
        ledger = Ledger.resumed(directory, arguments)
        runs.append(_run(project, member, own.facts, ledger, device))
    return runs


def _run(
    project: Project, task: Task, facts: ProjectFacts, ledger: Ledger, device: torch.device | str
) -> Run:
    trajectory = Trajectory(task, device)
    batch_size = gradient_batch_size(task)
    rates = tuple(float(checkpoint.learning_rate) for checkpoint in task.checkpoints)
    facts = replace(facts, checkpoints=len(rates), learning_rates=rates, **trajectory.facts())
    loaded = Loaded(
        task=task,
        trajectory=trajectory,
        index=GradientIndex(ledger, device),
        curvature=CurvatureStore(task, trajectory, ledger, device, batch_size),
        head=facts.head or "",
        train_labels=labels_of(task, "train"),
        device=device,
        batch_size=batch_size,
        texts=_texts(project),
    )
    return Run(project, facts, loaded)


def _texts(project: Project) -> Callable[[str], list[str]]:
    return lambda split: project.examples(split)["text"].tolist()


def _same_frozen(task: Task, other: Task) -> bool:
    theirs = dict(other.model.named_parameters())
    final = all(p.requires_grad or torch.equal(p, theirs[name]) for name, p in task.model.named_parameters())
    return final and all(frozen_alike(task.model, checkpoint) for checkpoint in other.checkpoints)


def _digest(task: Task) -> int:
    """CRC-32 of all weights of a run, and of the steps and learning rates that decide the damping in its index."""
    found = zlib.crc32(repr([(c.step, float(c.learning_rate)) for c in task.checkpoints]).encode())
    for tensor in _weights(task):
        numbers = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)  # numpy has no bfloat16
        found = zlib.crc32(numbers.numpy().tobytes(), found)
    return found


def _weights(task: Task) -> Iterator[Tensor]:
    yield from task.model.state_dict().values()
    for checkpoint in task.checkpoints:
        yield from checkpoint.tensors().values()
