"""Several mispredictions as one target: all become right; one alone is fixed as before there were groups."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from attribution import Engine, Task
from attribution.batches import Batch, batch_of
from attribution.errors import ProjectError, UsageError
from attribution.fixing import STRATEGIES
from attribution.fixing.descent import Target, descend
from attribution.fixing.objective import Objective
from attribution.fixing.optimization import Optimization
from attribution.fixing.step_size import Recipe, Start, line_search
from attribution.progress import SILENT
from attribution.projects import FixRecord, Project
from tests.unit.tiny_models import trained_mlp
from tests.unit.tiny_targets import mistakes


@pytest.fixture(scope="module")
def engine(prepared_digits: Project) -> Engine:
    return Engine(prepared_digits, device="cpu")


@pytest.fixture(scope="module")
def of_one_class(engine: Engine) -> list[str]:
    """Nines that are taken for eights."""
    wrong = engine.project.mispredictions()
    return [row["id"] for row in wrong if (row["true"], row["predicted"]) == ("9", "8")]


@pytest.fixture(scope="module")
def mixed(engine: Engine) -> list[str]:
    """The mildest mispredictions, of several classes."""
    return [row["id"] for row in engine.project.mispredictions()[-4:]]


def saved(engine: Engine, fix: FixRecord) -> FixRecord:
    engine.project.history.save(fix, state="preview")
    return fix


# -- descent ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def task() -> Task:
    return trained_mlp()


@pytest.fixture(scope="module")
def targets(task: Task) -> Target:
    """All test examples that the model gets wrong."""
    found = mistakes(task)
    assert len(found) > 2
    return found


def part(target: Target, rows: Sequence[int]) -> Target:
    batch = target.batch
    assert isinstance(batch.inputs, torch.Tensor)
    picked = list(rows)
    some = Batch(batch.positions[picked], batch.inputs[picked], batch.labels[picked])
    return Target(some, target.true[picked], target.predicted[picked])


def taught(target: Target) -> Objective:
    return Objective(trained=[Batch(target.batch.positions, target.batch.inputs, target.true)])


def test_descent_ends_where_all_targets_are_right_and_stay_so(task: Task, targets: Target) -> None:
    run = descend(task, task.model, taught(targets), targets, learning_rate=0.2, max_steps=200)
    assert run.fixed and run.stopped == "reached" and run.fixed_count == len(targets)
    assert run.probabilities.shape == (run.steps + 1, len(targets), 3)
    counts = targets.reached(run.probabilities).sum(dim=1)
    assert counts[-1] == len(targets) and counts[0] == 0


@pytest.mark.parametrize("steps", [1, 5, 20, 40])
def test_what_never_comes_right_at_once_ends_where_the_most_are_right(
    task: Task, targets: Target, steps: int
) -> None:
    """Two contradictory ends: half of the targets are taught as what they are taken for."""
    half = torch.arange(len(targets)) % 2 == 0
    labels = torch.where(half, targets.true, targets.predicted)
    objective = Objective(trained=[Batch(targets.batch.positions, targets.batch.inputs, labels)])
    run = descend(task, task.model, objective, targets, learning_rate=0.2, max_steps=steps)
    never = replace(targets, true=torch.full_like(targets.true, -1))
    whole = descend(task, task.model, objective, never, learning_rate=0.2, max_steps=steps)
    counts = targets.reached(whole.probabilities).sum(dim=1)
    assert int(counts.max()) < len(targets)
    best = int(counts.argmax()) if counts.max() else steps
    assert run.steps == best and run.fixed_count == counts[best]
    assert run.stopped == ("best" if best < steps else "steps")
    torch.testing.assert_close(run.probabilities, whole.probabilities[: best + 1], rtol=0, atol=0)
    now = task.logits(run.model, targets.batch.inputs).softmax(dim=1)
    torch.testing.assert_close(now.to(run.probabilities.dtype), run.probabilities[-1], rtol=0, atol=1e-6)


def test_each_target_is_watched_as_if_it_were_alone(task: Task, targets: Target) -> None:
    """The path of the weights is the objective's; a target only says when to end."""
    never = replace(targets, true=torch.full_like(targets.true, -1))
    together = descend(task, task.model, taught(targets), never, learning_rate=0.1, max_steps=5)
    for row in range(len(targets)):
        alone = descend(task, task.model, taught(targets), part(never, [row]), learning_rate=0.1, max_steps=5)
        torch.testing.assert_close(alone.probabilities[:, 0], together.probabilities[:, row])


def test_the_first_order_scale_is_the_mean_of_those_of_single_targets(task: Task, targets: Target) -> None:
    objective = Objective(trained=[batch_of(task, "train", [0, 1, 2, 3])])
    start = Start(task, task.model, objective, Optimization())
    found = start.scale(targets, replay=True)
    each = [start.scale(part(targets, [row]), replay=True) for row in range(len(targets))]
    assert found.margin == pytest.approx(np.mean([scale.margin for scale in each]), rel=1e-5)
    assert found.slope == pytest.approx(np.mean([scale.slope for scale in each]), rel=1e-4, abs=1e-7)
    assert found.direction_norm == pytest.approx(each[0].direction_norm)


def test_the_line_search_prefers_the_recipe_that_fixes_most(task: Task, targets: Target) -> None:
    rates = (1e-6, 0.02, 0.2)
    chosen, run = line_search(
        Start(task, task.model, taught(targets), Optimization()), targets, [Recipe(rate, False) for rate in rates],
        [batch_of(task, "train", range(20))], max_steps=15, guard=None, reporter=SILENT,
    )  # fmt: skip
    counts = [
        descend(task, task.model, taught(targets), targets, learning_rate=rate, max_steps=15).fixed_count
        for rate in rates
    ]
    assert run.fixed_count == max(counts) > min(counts)
    assert counts[rates.index(chosen.learning_rate)] == max(counts)


# -- fixes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_a_group_is_fixed_together_and_every_target_is_reported(
    engine: Engine, of_one_class: list[str], strategy: str
) -> None:
    fix = saved(engine, engine.fix(of_one_class, strategy=strategy))
    assert fix.test_ids == of_one_class and fix.test_id == of_one_class[0]
    assert [target.fixed for target in fix.targets] == [
        target.after.predicted == target.true != target.before.predicted for target in fix.targets
    ]
    assert fix.fixed == all(target.fixed for target in fix.targets)
    assert fix.fixed_count == sum(target.fixed for target in fix.targets)
    assert (fix.before, fix.after, fix.true) == (
        fix.targets[0].before,
        fix.targets[0].after,
        fix.targets[0].true,
    )
    if strategy in ("helpers", "test"):
        assert fix.fixed and fix.stopped == "reached"
    replayed = engine.replay(fix.fix_id)
    assert replayed.difference == 0
    seen = predictions_of(engine, replayed.model)
    assert [engine.project.class_names[seen[engine.project.position("test", i)]] for i in of_one_class] == [
        target.after.predicted for target in fix.targets
    ]


def predictions_of(engine: Engine, model: nn.Module) -> list[int]:
    test = batch_of(engine.task, "test", range(engine.task.size("test")))
    with torch.no_grad():
        found: list[int] = engine.task.logits(model, test.inputs).argmax(dim=1).tolist()
    return found


def test_curves_of_a_group_are_means_over_its_targets(engine: Engine, mixed: list[str]) -> None:
    fix = engine.fix(mixed, controls=False)
    for point, state in ((fix.probability_per_step[0], "before"), (fix.probability_per_step[-1], "after")):
        chances = [getattr(target, state).probabilities for target in fix.targets]
        true = [one[target.true] for one, target in zip(chances, fix.targets, strict=True)]
        former = [one[target.before.predicted] for one, target in zip(chances, fix.targets, strict=True)]
        assert point.true == pytest.approx(np.mean(true))
        assert point.predicted_before == pytest.approx(np.mean(former))


def test_targets_are_neither_newly_fixed_nor_broken(engine: Engine, mixed: list[str]) -> None:
    fix = engine.fix(mixed)
    assert not set(mixed) & {*fix.newly_fixed, *fix.newly_broken}
    change = (fix.fixed_count + len(fix.newly_fixed) - len(fix.newly_broken)) / len(
        engine.project.predictions("test")
    )
    assert fix.accuracy_after - fix.accuracy_before == pytest.approx(change)
    for control in fix.controls:
        assert control.fixed_count is not None and control.fixed == (control.fixed_count == len(mixed))
        gained = control.fixed_count + control.newly_fixed - control.newly_broken
        assert control.accuracy_after - fix.accuracy_before == pytest.approx(
            gained / len(engine.project.predictions("test"))
        )


def test_a_group_of_one_is_the_example_alone(engine: Engine, mixed: list[str]) -> None:
    alone, group, twice = (engine.fix(ids) for ids in (mixed[0], [mixed[0]], [mixed[0], mixed[0]]))
    varying = {"fix_id", "seconds", "created"}
    assert alone.model_dump(exclude=varying) == group.model_dump(exclude=varying)
    assert alone.model_dump(exclude=varying) == twice.model_dump(exclude=varying)
    assert [target.test_id for target in alone.targets] == [mixed[0]]


def test_the_order_of_a_group_does_not_change_what_is_done(engine: Engine, mixed: list[str]) -> None:
    first, second = (engine.fix(ids, strategy="test", controls=False) for ids in (mixed, mixed[::-1]))
    assert first.steps == second.steps and first.newly_broken == second.newly_broken
    back = {target.test_id: target for target in second.targets}
    for target in first.targets:
        assert target.after.probabilities == pytest.approx(back[target.test_id].after.probabilities, abs=1e-4)


def test_histories_from_before_groups_are_read_and_replayed(engine: Engine, mixed: list[str]) -> None:
    record = json.loads(engine.fix(mixed[0]).model_dump_json(by_alias=True))
    del record["targets"]
    for control in record["controls"]:
        del control["fixed_count"]
    old = saved(engine, FixRecord.model_validate(record | {"fix_id": "fix-before-groups"}))
    read = engine.project.history.get(old.fix_id)
    assert read.targets == [] and read.test_ids == [mixed[0]] and read.fixed_count == 1
    assert engine.replay(old.fix_id).difference == 0


def test_a_replay_checks_every_target(engine: Engine, mixed: list[str]) -> None:
    fix = engine.fix(mixed[:2], controls=False)
    false = copy.deepcopy(fix)
    false.targets[1].after.probabilities = dict.fromkeys(false.after.probabilities, 0.1)
    with pytest.raises(ProjectError, match="Replaying"):
        engine.replay(saved(engine, false).fix_id)
    changed = copy.deepcopy(fix)
    changed.targets[1].before.probabilities = dict.fromkeys(false.after.probabilities, 0.1)
    with pytest.raises(ProjectError, match="changed since"):
        engine.replay(saved(engine, changed).fix_id)


def test_what_cannot_be_done_with_a_group_is_said(engine: Engine, mixed: list[str]) -> None:
    right = str(engine.project.predictions("test").query("label == predicted").index[0])
    with pytest.raises(UsageError, match=f"'{right}' is predicted right already: leave it out"):
        engine.fix([mixed[0], right], strategy="test")
    with pytest.raises(UsageError, match="choose at least one"):
        engine.fix([])
    assert len({engine.project.example("test", one)["true"] for one in mixed}) > 1
    with pytest.raises(UsageError, match="no one class to relabel to"):
        engine.fix(mixed, strategy="relabel")


# -- edits --------------------------------------------------------------------------------------------------------


def test_helpers_of_a_group_are_of_any_of_the_true_classes(engine: Engine, mixed: list[str]) -> None:
    together = engine.explain_group(mixed)
    trues = {engine.project.example("test", one)["true"] for one in mixed}
    edits = engine.suggest(together, top=30)
    found = {card["label"] for card in engine.project.describe("train", [edit.train_id for edit in edits])}
    assert len(edits) == 30 and found <= trues and len(found) > 1
    fix = engine.fix(mixed, top=30)
    assert fix.edits == edits
