"""Verifying a fix: does the model change as predicted when it is trained again with the edited data?

An influence score is a claim about retraining. Here the claim is tested: models are trained by the recorded recipe with
the edits and without, from the same seeds, and the change of the margin is compared with what the scores add up to.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import Tensor

from attribution.errors import UsageError
from attribution.fixing.baselines import Baselines
from attribution.fixing.predicted_change import Predictor, predicting_method
from attribution.fixing.treatment import Treatment
from attribution.measurements import Measurement
from attribution.predictions import predict
from attribution.progress import Reporter
from attribution.projects import Edit, FixRecord, Project
from attribution.projects.verification_record import Change, PredictedPart, Share, VerificationRecord
from attribution.query import Target
from attribution.retraining import DataChanges, TrainingRecipe, retrain
from attribution.runs import Run
from attribution.task import Task
from attribution.versions import library_versions

SEEDS = 3
"""Retrainings with the edits, and as many without."""

UPWEIGHTED = 2.0
"""Weight of an up-weighted example: as if it stood in the training data twice."""

PREDICTION_BATCH = 256


def data_changes(treatment: Treatment) -> DataChanges:
    """What the edits of a fix change in the training data; unlearned examples count as removed."""
    weights, labels = {}, {}
    for position, action, label in zip(treatment.positions, treatment.actions, treatment.labels, strict=True):
        if action == "relabel":
            labels[position] = label
        else:
            weights[position] = UPWEIGHTED if action == "upweight" else 0.0
    return DataChanges(weights, labels)


def edits_together(fixes: Sequence[FixRecord]) -> list[Edit]:
    """The edits of fixes made one on top of the other; of an example that several edit, the last one's."""
    return list({edit.train_id: edit for fix in fixes for edit in fix.edits}.values())


def verify_fix(
    run: Run,
    fixes: Sequence[FixRecord],
    targets: Sequence[Target],
    *,
    seeds: int,
    reporter: Reporter,
) -> VerificationRecord:
    """Retrain with the edits of a fix and without, from each seed, and compare with the prediction; nothing is saved.

    Args:
        run: the project's own; its model is moved.
        fixes: the fix, after those that it was made on top of: the edits of all of them are made in the data at once.
        targets: the test examples of the fix, with their margins.

    Raises:
        As `Engine.verify`.
    """
    started = time.perf_counter()
    task, project, fix = run.loaded.task, run.project, fixes[-1]
    edits = edits_together(fixes)
    treatment = check_verifiable(project, task, fix, edits, seeds)
    method = predicting_method(fix.method, run.facts)
    reporter(0.0, f"Predicting what the edits do, by {method.info.name}")
    predictor = Predictor.of(run, method, targets, reporter.share(0.0, 0.1))
    parts = predictor.changes(treatment).mean(dim=0).tolist()
    recipe, device = TrainingRecipe.of(task), torch.device(run.loaded.device)
    retrained = retrained_outputs(
        project,
        task,
        recipe,
        data_changes(treatment),
        seeds=seeds,
        device=device,
        reporter=reporter.share(0.1, 1.0),
    )
    compared = Comparison.of(project, targets, retrained.pairs)
    return VerificationRecord(
        fix_id=fix.fix_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        beneath=[beneath.fix_id for beneath in fixes[:-1]],
        test_ids=list(fix.test_ids),
        seeds=list(range(seeds)),
        method=method.info.name,
        refined=predictor.refined,
        fix_method=fix.method,
        predicted=math.fsum(parts),
        parts=[
            PredictedPart(train_id=edit.train_id, action=edit.action, predicted=part)
            for edit, part in zip(edits, parts, strict=True)
        ],
        actual=compared.change,
        margins_without=compared.margins_without,
        retrained_right=compared.right,
        accuracy=compared.accuracy,
        from_step=recipe.from_step,
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        optimizer=task.optimizer,
        device=str(device),
        seconds=time.perf_counter() - started,
        trained=retrained.trained,
        versions=library_versions(),
    )


def check_verifiable(
    project: Project, task: Task, fix: FixRecord, edits: Sequence[Edit], seeds: int
) -> Treatment:
    """The edits of a fix, where models can be trained again with them.

    Raises:
        UsageError: fewer than one seed, or a fix that edits no training data.
        NotFoundError: an example of the fix is no longer in the project.
        MissingRequirementError: the training record lacks something.
    """
    if seeds < 1:
        raise UsageError("--seeds must be at least 1.")
    if not edits:
        raise UsageError(
            f"{fix.fix_id} trained on the test example itself and edits no training data, so there is nothing to train "
            "again with: verify a fix by another strategy."
        )
    TrainingRecipe.of(task)
    return Treatment.of(project, fix.strategy, edits)


@dataclass(frozen=True)
class Retrained:
    """Logits (n_test, C) of models retrained without edits and with them, by seed, and how many were trained now."""

    pairs: list[tuple[NDArray[np.float32], NDArray[np.float32]]]
    trained: int


def retrained_outputs(
    project: Project,
    task: Task,
    recipe: TrainingRecipe,
    changes: DataChanges,
    *,
    seeds: int,
    device: torch.device,
    reporter: Reporter,
) -> Retrained:
    """Train without the changes and with them, from each seed.

    Models without changes are remembered when all is done: until then the project stays as it is.

    Raises:
        NumericalError: training diverged.
        ProjectError: what training starts from does not fit, or the folder cannot be written.
        Cancelled: the user asked for a stop.
    """
    baselines = Baselines(project, task, recipe, device)
    without = {seed: known for seed in range(seeds) if (known := baselines.known(seed)) is not None}
    trainings = _Trainings(task, recipe, device, 2 * seeds - len(without), reporter)
    made: dict[int, NDArray[np.float32]] = {}
    pairs = []
    for seed in range(seeds):
        if seed not in without:
            without[seed] = made[seed] = trainings.logits(seed, DataChanges(), "without the edits")
        pairs.append((without[seed], trainings.logits(seed, changes, "with the edits")))
    baselines.remember(made)
    return Retrained(pairs, trainings.total)


class _Trainings:
    """Retrainings one after the other, and how far they are."""

    def __init__(
        self, task: Task, recipe: TrainingRecipe, device: torch.device, total: int, reporter: Reporter
    ) -> None:
        self._task, self._recipe, self._device = task, recipe, device
        self.total = total
        self._done = 0
        self._reporter = reporter
        self._started = time.monotonic()

    def logits(self, seed: int, changes: DataChanges, what: str) -> NDArray[np.float32]:
        """What a model retrained from a seed says of the test set, (n_test, C)."""
        share = self._reporter.share(self._done / self.total, (self._done + 1) / self.total)
        message = f"Training {self._done + 1} of {self.total}: seed {seed}, {what}{self._left()}"
        model = retrain(
            self._task,
            self._recipe,
            seed,
            changes,
            device=self._device,
            reporter=share.share(0.0, 0.95),
            message=message,
        )
        found, _ = predict(
            self._task,
            model,
            "test",
            device=self._device,
            batch_size=PREDICTION_BATCH,
            reporter=share.share(0.95, 1.0),
            message=message,
        )
        self._done += 1
        logits: NDArray[np.float32] = found.numpy()
        return logits

    def _left(self) -> str:
        if not self._done:
            return ""
        seconds = (time.monotonic() - self._started) / self._done * (self.total - self._done)
        return f", about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """A time in words, as exact as an estimate is."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Comparison:
    """Models retrained with edits beside those without, seed by seed."""

    change: Change
    margins_without: list[float]
    right: Share
    accuracy: Share

    @classmethod
    def of(
        cls,
        project: Project,
        targets: Sequence[Target],
        outputs: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    ) -> Comparison:
        """From pairs of logits (n_test, C), without edits and with them."""
        labels = project.predictions("test")["label"].to_numpy()
        positions = [target.position for target in targets]
        margins = np.array([[mean_margin(logits, targets, labels) for logits in pair] for pair in outputs])
        right = np.array([[logits.argmax(axis=1) == labels for logits in pair] for pair in outputs])
        shares = right[:, :, positions].mean(axis=(0, 2))
        accuracies = right.mean(axis=(0, 2))
        return cls(
            change_of((margins[:, 1] - margins[:, 0]).tolist()),
            margins[:, 0].tolist(),
            Share(without_edits=float(shares[0]), with_edits=float(shares[1])),
            Share(without_edits=float(accuracies[0]), with_edits=float(accuracies[1])),
        )


def mean_margin(logits: NDArray[np.float32], targets: Sequence[Target], labels: NDArray[np.int64]) -> float:
    """The mean margin of the targets in a model that gives these logits (n_test, C)."""
    rows = torch.from_numpy(logits).double()
    values = [
        _value(target.measurement, rows, target.position, int(labels[target.position])) for target in targets
    ]
    return float(np.mean(values))


def _value(measurement: Measurement, rows: Tensor, position: int, label: int) -> float:
    return float(measurement.value(rows[position : position + 1], torch.tensor([label])))


def change_of(per_seed: list[float]) -> Change:
    """The mean of paired differences, with its 95 % interval by Student's t."""
    mean, count = float(np.mean(per_seed)), len(per_seed)
    if count < 2:
        return Change(mean=mean, interval=None, per_seed=per_seed)
    half = float(student.ppf(0.975, count - 1) * np.std(per_seed, ddof=1) / math.sqrt(count))
    return Change(mean=mean, interval=(mean - half, mean + half), per_seed=per_seed)
