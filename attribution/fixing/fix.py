"""Running a fix: a few steps as the edits say, the controls beside it, side effects on the whole test set."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attribution.batches import batch_of, batches
from attribution.errors import NumericalError, UsageError
from attribution.fixing.context import FixContext
from attribution.fixing.controls import Control, control_sets
from attribution.fixing.descent import Descent, Target, descend
from attribution.fixing.guard import Guard
from attribution.fixing.objective import Objective, Unlearnable
from attribution.fixing.optimization import Optimization
from attribution.fixing.side_effects import SideEffects, compare
from attribution.fixing.step_size import Recipe, Start, candidates, line_search
from attribution.fixing.treatment import Slices, Treatment
from attribution.measurements import probabilities
from attribution.predictions import predict
from attribution.progress import Reporter
from attribution.projects import ControlRecord, Edit, FixRecord, Project
from attribution.projects.records import Belief, ClassAccuracy, CurvePoint, StackRecord, TargetRecord
from attribution.versions import library_versions

PREDICTION_BATCH = 256

WATCHED_BATCH = 64
"""Texts are grouped by length in batches: all watched ones together would be as long as the longest."""


@dataclass(frozen=True)
class FixRequest:
    """What to do: edits for the test examples at ``positions``, all different, and the recipe."""

    positions: list[int]
    strategy: str
    edits: list[Edit]
    method: str
    measurement: str
    max_steps: int
    seed: int
    guard: int | None = None
    controls: bool = True
    ends_early: bool = True


@dataclass(frozen=True)
class CarriedOut:
    """The fine-tuning of a request: what was aimed at and done, and what its controls take over."""

    target: Target
    treatment: Treatment
    slices: Slices
    sets: list[Control]
    objective: Objective
    optimization: Optimization
    guard: Guard | None
    recipe: Recipe
    run: Descent


def run_fix(context: FixContext, request: FixRequest, reporter: Reporter) -> FixRecord:
    """Fix mispredictions on a copy of the model; the same request gives the same result on the same device.

    Raises:
        UsageError: nothing to fix or to unlearn, or an edit that cannot be carried out.
        NotFoundError: an edit names an unknown training example or class.
        NumericalError: fine-tuning diverged.
    """
    started = time.perf_counter()
    carried = carry_out(context, request, reporter.share(0.0, 0.3))
    project, task, device = context.project, context.task, context.device
    recipe, run = carried.recipe, carried.run
    train_labels = project.predictions("train")["label"].to_numpy()
    test_labels = project.predictions("test")["label"].to_numpy()
    before = context.predictions["predicted"].to_numpy()
    confidence_before = context.predictions["confidence"].to_numpy()

    def predicted_by(descent: Descent, share: Reporter) -> tuple[NDArray[np.int64], SideEffects]:
        logits, _ = predict(
            task,
            descent.model,
            "test",
            device=device,
            batch_size=PREDICTION_BATCH,
            reporter=share,
            message="Side effects on the whole test set",
        )
        confidence, after = probabilities(logits).max(dim=1)
        effects = compare(
            test_labels,
            before,
            after.numpy(),
            request.positions,
            confidence=(confidence_before, confidence.numpy()),
        )
        return after.numpy(), effects

    after, effects = predicted_by(run, reporter.share(0.3, 0.5))
    controls = []
    sets = carried.sets if request.controls else []
    for number, control in enumerate(sets):
        share = reporter.share(0.5 + 0.5 * number / len(sets), 0.5 + 0.5 * (number + 1) / len(sets))
        control_run = _control_run(
            context,
            carried,
            carried.treatment.of_others(control.positions, train_labels),
            request,
            share.share(0.0, 0.3),
            f"Control: {control.title.lower()}",
        )
        _, control_effects = predicted_by(control_run, share.share(0.3, 1.0))
        controls.append(_control_record(project, control, control_run, control_effects))

    targets = _target_records(project, request.positions, run)
    names = project.class_names
    test_ids = project.predictions("test").index
    return FixRecord(
        fix_id=f"fix-{uuid.uuid4().hex[:10]}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        project=project.name,
        test_id=targets[0].test_id,
        true=targets[0].true,
        targets=targets,
        strategy=request.strategy,
        method=request.method,
        measurement=request.measurement,
        edits=request.edits,
        train_ids=[edit.train_id for edit in request.edits],
        seed=request.seed,
        device=str(device),
        learning_rate=recipe.learning_rate,
        optimizer=carried.optimization.name,
        replayed=carried.objective.replayed if recipe.replay else 0,
        max_steps=request.max_steps,
        guard=request.guard,
        stopped=run.stopped,
        ends_early=request.ends_early,
        before=targets[0].before,
        after=targets[0].after,
        fixed=run.fixed,
        steps=run.steps,
        seconds=time.perf_counter() - started,
        probability_per_step=curve_of(run),
        accuracy_before=effects.accuracy_before,
        accuracy_after=effects.accuracy_after,
        accuracy_interval=effects.interval,
        mcnemar_p=effects.mcnemar_p,
        calibration_before=effects.calibration_before,
        calibration_after=effects.calibration_after,
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
        newly_fixed_from=(
            {str(test_ids[p]): names[before[p]] for p in effects.newly_fixed} if context.beneath else {}
        ),
        controls=controls,
        versions=library_versions(),
        base=context.beneath[-1].fix_id if context.beneath else None,
        stack=_stack_record(context, request.positions, after) if context.beneath else None,
    )


def carry_out(
    context: FixContext,
    request: FixRequest,
    reporter: Reporter,
    *,
    worth_trying: Callable[[list[Recipe]], list[Recipe]] = list,
) -> CarriedOut:
    """The fine-tuning of a fix alone, without controls and side effects: what replaying a recipe repeats.

    Args:
        worth_trying: which of the recipes that the line search knows to try; all of them for a fix.

    Raises:
        As `run_fix`.
    """
    project, task, model, device = context.project, context.task, context.model, context.device
    target = _target(context, request.positions)
    strategy = request.strategy
    treatment = Treatment.of(project, strategy, request.edits)
    train_labels = project.predictions("train")["label"].to_numpy()
    known = sorted(true for true in target.true.tolist() if (train_labels == true).any())
    sets = control_sets(
        treatment.positions,
        train_labels,
        _similarity(project, context.representations, request.positions),
        request.seed,
        stand_in=known if strategy == "test" else (),
    )
    # What stands in for the chosen examples must not be replayed either: unlearned and replayed at once, it would
    # be held in place.
    apart = treatment.positions
    if strategy != "remove":
        apart = apart + [position for control in sets for position in control.positions]
    slices = Slices.drawn(task.size("train"), apart, request.seed)
    objective = treatment.objective(
        task, model, target, slices.others(strategy), max_steps=request.max_steps, device=device
    )
    test_labels = project.predictions("test")["label"].to_numpy()
    before = context.predictions["predicted"].to_numpy()
    guard = None
    if request.guard is not None:
        right = np.flatnonzero(test_labels == before)
        guard = Guard(task, request.guard, right.tolist(), device, PREDICTION_BATCH)
    optimization = Optimization.of(task, context.moments)
    if not objective.continued:
        optimization = Optimization.natural(context.curvature(reporter))
    start = Start(task, model, objective, optimization)
    recipe, run = line_search(
        start,
        target,
        worth_trying(candidates(start, target)),
        [batch.to(device) for batch in batches(task, "train", WATCHED_BATCH, slices.watched)],
        max_steps=request.max_steps,
        guard=guard,
        ends_early=request.ends_early,
        reporter=reporter,
    )
    return CarriedOut(target, treatment, slices, list(sets), objective, optimization, guard, recipe, run)


def _control_run(
    context: FixContext,
    carried: CarriedOut,
    treatment: Treatment,
    request: FixRequest,
    reporter: Reporter,
    message: str,
) -> Descent:
    task, model, device = context.task, context.model, context.device
    target, recipe = carried.target, carried.recipe
    try:
        objective = treatment.objective(
            task,
            model,
            target,
            carried.slices.others(treatment.strategy),
            max_steps=request.max_steps,
            device=device,
        )
        return descend(
            task,
            model,
            recipe.applied(objective),
            target,
            learning_rate=recipe.learning_rate,
            max_steps=request.max_steps,
            optimization=carried.optimization,
            guard=carried.guard,
            ends_early=request.ends_early,
            reporter=reporter,
            message=message,
        )
    except (NumericalError, Unlearnable):
        # A control that diverges or has nothing to unlearn fixed nothing, in no step that counts; the fix itself is
        # what matters.
        return descend(task, model, Objective(), target, learning_rate=0.0, max_steps=0)


def _target(context: FixContext, positions: list[int]) -> Target:
    """Raises UsageError where there is nothing to fix."""
    if not positions:
        raise UsageError("There is no misprediction to fix: choose at least one.")
    table = context.predictions.iloc[positions]
    right = table.index[table["label"] == table["predicted"]]
    if len(right):
        way_out = "choose a misprediction" if len(positions) == 1 else "leave it out"
        already = f"with {context.beneath[-1].fix_id} beneath" if context.beneath else "already"
        raise UsageError(f"The test example '{right[0]}' is predicted right {already}: {way_out}.")
    true, predicted = (torch.tensor(table[name].tolist()) for name in ("label", "predicted"))
    return Target(batch_of(context.task, "test", positions).to(context.device), true, predicted)


def _target_records(project: Project, positions: list[int], run: Descent) -> list[TargetRecord]:
    ids, names = project.predictions("test").index, project.class_names
    before, after = run.probabilities[0], run.probabilities[-1]
    return [
        TargetRecord(
            test_id=str(ids[position]),
            true=names[int(run.target.true[number])],
            before=_belief(names, before[number]),
            after=_belief(names, after[number]),
            fixed=fixed,
        )
        for number, (position, fixed) in enumerate(zip(positions, run.fixed_targets, strict=True))
    ]


def _stack_record(context: FixContext, positions: list[int], after: NDArray[np.int64]) -> StackRecord:
    """What became of the original model's predictions, ``after`` (N,) being those with the whole stack."""
    original = context.project.predictions("test")
    ids, names = original.index, context.project.class_names
    labels = original["label"].to_numpy()
    whole = compare(labels, original["predicted"].to_numpy(), after, [])
    earlier = [test_id for fix in context.beneath for test_id in fix.test_ids]
    targets = list(dict.fromkeys([*earlier, *(str(ids[position]) for position in positions)]))
    wrong_now = {str(test_id) for test_id in ids[after != labels]}
    return StackRecord(
        beneath=[fix.fix_id for fix in context.beneath],
        targets=targets,
        wrong=[test_id for test_id in targets if test_id in wrong_now],
        accuracy_original=whole.accuracy_before,
        accuracy_interval=whole.interval,
        mcnemar_p=whole.mcnemar_p,
        fixed=[str(ids[p]) for p in whole.newly_fixed],
        broken=[str(ids[p]) for p in whole.newly_broken],
        broken_as={
            str(ids[p]): names[c] for p, c in zip(whole.newly_broken, whole.newly_broken_as, strict=True)
        },
    )


def _control_record(project: Project, control: Control, run: Descent, effects: SideEffects) -> ControlRecord:
    ids = project.predictions("train").index
    return ControlRecord(
        name=control.name,
        title=control.title,
        train_ids=[str(ids[p]) for p in control.positions],
        fixed=run.fixed,
        fixed_count=run.fixed_count,
        steps=run.steps,
        accuracy_after=effects.accuracy_after,
        newly_fixed=len(effects.newly_fixed),
        newly_broken=len(effects.newly_broken),
        probability_per_step=curve_of(run),
    )


def _similarity(
    project: Project, representations: NDArray[np.float32] | None, positions: list[int]
) -> NDArray[np.float64] | None:
    """Cosine similarity (N,) of the training representations with the test examples', on average."""
    file = project.prepared_directory / "test_representations.npy"
    if representations is None or not file.exists():
        return None
    own_lengths = np.linalg.norm(representations, axis=1)
    each = [
        representations @ mine / np.maximum(own_lengths * np.linalg.norm(mine), 1e-12)
        for mine in np.load(file, mmap_mode="r")[positions].astype(np.float64)
    ]
    similarity: NDArray[np.float64] = np.mean(each, axis=0)
    return similarity


def curve_of(run: Descent) -> list[CurvePoint]:
    """The probabilities of two classes after each step, means over the targets."""
    pairs = zip(run.true_probabilities.tolist(), run.former_probabilities.tolist(), strict=True)
    return [CurvePoint(step=step, true=t, predicted_before=p) for step, (t, p) in enumerate(pairs)]


def _belief(names: list[str], row: Tensor) -> Belief:
    chances = {name: float(value) for name, value in zip(names, row, strict=True)}
    return Belief(predicted=names[int(row.argmax())], probabilities=chances)
