"""Running a fix: descent on the edited examples, the controls beside it, side effects on the whole test set."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attribution.batches import Batch, batch_of
from attribution.errors import NotFoundError, NumericalError, UsageError
from attribution.fixing.controls import Control, control_sets
from attribution.fixing.descent import Descent, Target, descend
from attribution.fixing.side_effects import SideEffects, compare
from attribution.fixing.step_size import Recipe, line_search
from attribution.predictions import predict
from attribution.progress import Reporter
from attribution.projects import ControlRecord, Edit, FixRecord, Project
from attribution.projects.records import Belief, ClassAccuracy, CurvePoint
from attribution.task import Task
from attribution.versions import library_versions

REPLAYED = 32
"""Random training examples whose loss may be added to that of the chosen ones, to hold the rest in place."""

HELD_OUT = 256
"""Other random training examples, on which the line search measures harm."""

PREDICTION_BATCH = 256


@dataclass(frozen=True)
class FixRequest:
    """What to do: edits for the test example at ``position``, and the recipe."""

    position: int
    strategy: str
    edits: list[Edit]
    method: str
    measurement: str
    max_steps: int
    seed: int


@dataclass(frozen=True)
class CarriedOut:
    """The fine-tuning of a request: what was aimed at, the edited positions with their labels, recipe and descent."""

    target: Target
    positions: list[int]
    labels: list[int]
    recipe: Recipe
    run: Descent


def run_fix(
    project: Project,
    task: Task,
    model: nn.Module,
    representations: NDArray[np.float32] | None,
    request: FixRequest,
    *,
    device: torch.device,
    batch_size: int,
    reporter: Reporter,
) -> FixRecord:
    """Fix one misprediction on a copy of ``model``; the same request gives the same result on the same device.

    Raises:
        UsageError: nothing to fix, or an edit that cannot be carried out.
        NotFoundError: an edit names an unknown training example or class.
        NumericalError: fine-tuning diverged.
    """
    started = time.perf_counter()
    carried = carry_out(project, task, model, request, device=device, reporter=reporter.share(0.0, 0.3))
    target, positions, labels = carried.target, carried.positions, carried.labels
    recipe, run = carried.recipe, carried.run
    test_id = str(project.predictions("test").index[request.position])
    test_labels = project.predictions("test")["label"].to_numpy()
    before = project.predictions("test")["predicted"].to_numpy()

    def effects_of(descent: Descent, share: Reporter) -> SideEffects:
        logits, _ = predict(
            task,
            descent.model,
            "test",
            device=device,
            batch_size=PREDICTION_BATCH,
            reporter=share,
            message="Side effects on the whole test set",
        )
        return compare(test_labels, before, logits.argmax(dim=1).numpy(), request.position)

    effects = effects_of(run, reporter.share(0.3, 0.5))
    similarity = _similarity(project, representations, request.position)
    controls = []
    sets = control_sets(positions, project.predictions("train")["label"].to_numpy(), similarity, request.seed)
    for number, control in enumerate(sets):
        share = reporter.share(0.5 + 0.5 * number / len(sets), 0.5 + 0.5 * (number + 1) / len(sets))
        control_run = _control_run(task, model, control, labels, target, recipe, request, device, share)
        control_effects = effects_of(control_run, share.share(0.3, 1.0))
        controls.append(_control_record(project, control, control_run, control_effects, target))

    names = project.class_names
    test_ids = project.predictions("test").index
    return FixRecord(
        fix_id=f"fix-{uuid.uuid4().hex[:10]}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        project=project.name,
        test_id=test_id,
        true=names[target.true],
        strategy=request.strategy,
        method=request.method,
        measurement=request.measurement,
        edits=request.edits,
        train_ids=[edit.train_id for edit in request.edits],
        seed=request.seed,
        device=str(device),
        learning_rate=recipe.learning_rate,
        replayed=0 if recipe.replay is None else len(recipe.replay),
        max_steps=request.max_steps,
        before=_belief(names, run.probabilities[0]),
        after=_belief(names, run.probabilities[-1]),
        fixed=run.fixed,
        steps=run.steps,
        seconds=time.perf_counter() - started,
        probability_per_step=_curve(run, target),
        accuracy_before=effects.accuracy_before,
        accuracy_after=effects.accuracy_after,
        accuracy_interval=effects.interval,
        per_class=[
            ClassAccuracy.model_validate({"class": names[c], "before": b, "after": a, "count": n})
            for c, b, a, n in effects.per_class
        ],
        newly_fixed=[str(test_ids[p]) for p in effects.newly_fixed],
        newly_broken=[str(test_ids[p]) for p in effects.newly_broken],
        newly_broken_as={
            str(test_ids[p]): names[c]
            for p, c in zip(effects.newly_broken, effects.newly_broken_as, strict=True)
        },
        controls=controls,
        versions=library_versions(),
    )


def carry_out(
    project: Project,
    task: Task,
    model: nn.Module,
    request: FixRequest,
    *,
    device: torch.device,
    reporter: Reporter,
) -> CarriedOut:
    """The fine-tuning of a fix alone, without controls and side effects: what replaying a recipe repeats.

    Raises:
        As `run_fix`.
    """
    row = project.predictions("test").iloc[request.position]
    true, predicted = int(row["label"]), int(row["predicted"])
    if true == predicted:
        test_id = project.predictions("test").index[request.position]
        raise UsageError(f"The test example '{test_id}' is predicted right already: choose a misprediction.")
    positions, labels = _edited(project, task, request.edits)
    target = Target(batch_of(task, "test", [request.position]).to(device), true, predicted)
    replayed, watched = _random_slices(task, positions, request.seed)
    recipe, run = line_search(
        task,
        model,
        _relabelled(task, positions, labels, device),
        target,
        batch_of(task, "train", replayed).to(device),
        batch_of(task, "train", watched).to(device),
        max_steps=request.max_steps,
        reporter=reporter,
    )
    return CarriedOut(target, positions, labels, recipe, run)


def _edited(project: Project, task: Task, edits: list[Edit]) -> tuple[list[int], list[int]]:
    """Positions of the edited examples and the labels to train them with."""
    names = project.class_names
    current = project.predictions("train")["label"].to_numpy()
    positions, labels = [], []
    for edit in edits:
        position = project.position("train", edit.train_id)
        if edit.action == "remove":
            raise UsageError(
                f"The training example '{edit.train_id}' is to be removed, which fine-tuning steps cannot do: "
                "up-weight or relabel examples instead, or take it out of the selection."
            )
        if edit.action == "relabel" and edit.label not in names:
            raise NotFoundError(
                f"There is no class '{edit.label}' to relabel '{edit.train_id}' to: the classes are "
                f"{', '.join(names[:20])}."
            )
        positions.append(position)
        labels.append(
            names.index(edit.label) if edit.action == "relabel" and edit.label else int(current[position])
        )
    if not positions:
        raise UsageError(
            "There is no training example to train on: choose some, or let Tracefix suggest them."
        )
    if len(set(positions)) != len(positions):
        raise UsageError("A training example is chosen twice: choose each one once.")
    return positions, labels


def _relabelled(task: Task, positions: list[int], labels: list[int], device: torch.device) -> Batch:
    batch = batch_of(task, "train", positions)
    return Batch(batch.positions, batch.inputs, torch.tensor(labels)).to(device)


def _random_slices(task: Task, chosen: list[int], seed: int) -> tuple[list[int], list[int]]:
    """Positions to replay and positions to watch for harm: random, apart from each other and from the chosen."""
    taken = set(chosen)
    order = np.random.default_rng([seed, 1]).permutation(task.size("train"))
    others = [int(p) for p in order if int(p) not in taken] or chosen
    replayed = others[: min(REPLAYED, max(len(others) // 2, 1))]
    return replayed, others[len(replayed) :][:HELD_OUT] or replayed


def _control_run(
    task: Task,
    model: nn.Module,
    control: Control,
    labels: list[int],
    target: Target,
    recipe: Recipe,
    request: FixRequest,
    device: torch.device,
    reporter: Reporter,
) -> Descent:
    relabelled = [edit.action == "relabel" for edit in request.edits]
    own = batch_of(task, "train", control.positions).labels.tolist()
    new = [label if changed else kept for label, kept, changed in zip(labels, own, relabelled, strict=True)]
    examples = _relabelled(task, control.positions, new, device)
    try:
        return descend(
            task,
            model,
            examples,
            target,
            learning_rate=recipe.learning_rate,
            replay=recipe.replay,
            max_steps=request.max_steps,
            reporter=reporter.share(0.0, 0.3),
            message=f"Control: {control.title.lower()}",
        )
    except NumericalError:
        # A control that diverges fixed nothing, in no step that counts; the fix itself is what matters.
        return descend(task, model, examples, target, learning_rate=0.0, max_steps=0)


def _control_record(
    project: Project, control: Control, run: Descent, effects: SideEffects, target: Target
) -> ControlRecord:
    ids = project.predictions("train").index
    return ControlRecord(
        name=control.name,
        title=control.title,
        train_ids=[str(ids[p]) for p in control.positions],
        fixed=run.fixed,
        steps=run.steps,
        accuracy_after=effects.accuracy_after,
        newly_fixed=len(effects.newly_fixed),
        newly_broken=len(effects.newly_broken),
        probability_per_step=_curve(run, target),
    )


def _similarity(
    project: Project, representations: NDArray[np.float32] | None, position: int
) -> NDArray[np.float64] | None:
    """Cosine similarity (N,) of the training representations with the test example's."""
    file = project.prepared_directory / "test_representations.npy"
    if representations is None or not file.exists():
        return None
    mine = np.load(file, mmap_mode="r")[position].astype(np.float64)
    lengths = np.linalg.norm(representations, axis=1) * np.linalg.norm(mine)
    similarity: NDArray[np.float64] = representations @ mine / np.maximum(lengths, 1e-12)
    return similarity


def _curve(run: Descent, target: Target) -> list[CurvePoint]:
    return [
        CurvePoint(step=step, true=float(row[target.true]), predicted_before=float(row[target.predicted]))
        for step, row in enumerate(run.probabilities)
    ]


def _belief(names: list[str], row: Tensor) -> Belief:
    chances = {name: float(value) for name, value in zip(names, row, strict=True)}
    return Belief(predicted=names[int(row.argmax())], probabilities=chances)
