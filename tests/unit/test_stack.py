"""Fixes on top of fixes: as if the first one had been applied to the model, and replayed exactly."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from attribution import Engine
from attribution.batches import batch_of
from attribution.errors import NotFoundError, ProjectError, UsageError
from attribution.fixing import export_fix, replay_command
from attribution.projects import Edit, FixRecord
from dashboard.views.stacks import beneath_sentence, stack_sentence, undone_sentence
from tests.command_line import CommandLine
from tests.unit.built_projects import engine_of
from tests.unit.fix_records import record
from tests.unit.tiny_models import trained_mlp


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """With more test examples than elsewhere, so that there are enough errors."""
    return engine_of(tmp_path_factory.mktemp("stack") / "project", partial(trained_mlp, test=80))


STEPS = 6
"""At most, to be quick."""


def kept(engine: Engine, test_id: str, **choices: object) -> FixRecord:
    fix = engine.fix(test_id, steps=STEPS, **choices)  # type: ignore[arg-type]
    engine.project.history.save(fix)
    return fix


@pytest.fixture(scope="module")
def stack(engine: Engine) -> list[FixRecord]:
    """Three kept fixes, each on top of the one before."""
    found: list[FixRecord] = []
    for strategy in ("helpers", "relabel", "remove"):
        base = found[-1].fix_id if found else None
        table = engine.predictions(base)
        wrong = table.index[table["label"] != table["predicted"]]
        found.append(kept(engine, str(wrong[4]), strategy=strategy, top=5, base=base, seed=len(found)))
    return found


def predicted_by(engine: Engine, model: torch.nn.Module) -> np.ndarray:
    """Class numbers (N,) of the test set, computed without the engine's own predicting."""
    batch = batch_of(engine.task, "test", range(engine.task.size("test")))
    with torch.no_grad():
        return np.asarray(engine.task.logits(model, batch.inputs).argmax(dim=1))


def test_a_stack_says_what_it_stands_on(stack: list[FixRecord]) -> None:
    bottom, middle, top = stack
    assert (bottom.base, bottom.stack) == (None, None)
    assert middle.base == bottom.fix_id and top.base == middle.fix_id
    assert top.stack is not None and top.stack.beneath == [bottom.fix_id, middle.fix_id]
    assert top.contract()["base"] == middle.fix_id
    json.dumps(top.contract(), allow_nan=False)


def test_before_is_the_base_and_the_whole_is_against_the_original(
    engine: Engine, stack: list[FixRecord]
) -> None:
    """From predictions of the replayed models, computed apart."""
    table = engine.project.predictions("test")
    labels, ids = table["label"].to_numpy(), table.index
    original = table["predicted"].to_numpy()
    models = [predicted_by(engine, engine.replay(fix.fix_id).model) for fix in stack]
    for fix, below, now in zip(stack, [original, *models], models, strict=False):
        others = ~np.isin(ids, fix.test_ids)
        assert fix.accuracy_before == pytest.approx((below == labels).mean())
        assert fix.accuracy_after == pytest.approx((now == labels).mean())
        assert fix.newly_fixed == ids[(below != labels) & (now == labels) & others].tolist()
        names = engine.project.class_names
        if fix.base is not None:
            assert fix.newly_fixed_from == {i: names[below[ids.get_loc(i)]] for i in fix.newly_fixed}
        assert fix.newly_broken == ids[(below == labels) & (now != labels) & others].tolist()
        assert fix.fixed == bool((now == labels)[~others].all())
        if fix.stack is not None:
            assert fix.stack.accuracy_original == pytest.approx((original == labels).mean())
            assert fix.stack.fixed == ids[(original != labels) & (now == labels)].tolist()
            assert fix.stack.broken == ids[(original == labels) & (now != labels)].tolist()
            assert set(fix.stack.targets) == {
                test_id for f in stack[: stack.index(fix) + 1] for test_id in f.test_ids
            }
            wrong = set(ids[now != labels])
            assert fix.stack.wrong == [test_id for test_id in fix.stack.targets if test_id in wrong]


def test_a_fix_on_top_is_the_fix_of_a_project_whose_model_is_the_base(
    engine: Engine, stack: list[FixRecord], tmp_path: Path
) -> None:
    """`remove` steps as training did, so that nothing but the model counts; other strategies step in the curvature,
    which stays that of the original model."""
    bottom = stack[0]
    patched = replace(trained_mlp(test=80), model=engine.replay(bottom.fix_id).model)
    other = engine_of(tmp_path / "project", lambda: patched)
    table = engine.predictions(bottom.fix_id)
    assert np.allclose(
        table.drop(columns="label"), other.project.predictions("test").drop(columns="label"), atol=1e-6
    )
    edits = [Edit(train_id=f"train-{number}", action="remove") for number in (3, 8, 21)]
    for test_id in table.index[table["label"] != table["predicted"]][:4]:
        mine = engine.fix(str(test_id), edits=edits, base=bottom.fix_id, guard=3, steps=STEPS)
        theirs = other.fix(str(test_id), edits=edits, guard=3, steps=STEPS)
        assert mine.probability_per_step == theirs.probability_per_step
        same = (
            "learning_rate",
            "stopped",
            "newly_fixed",
            "newly_broken",
            "accuracy_before",
            "per_class",
            "mcnemar_p",
        )
        assert all(getattr(mine, name) == getattr(theirs, name) for name in same)
        assert mine.calibration_before == pytest.approx(theirs.calibration_before)


def test_replay_is_exact_with_and_without_memory_and_over_deleted_bases(
    engine: Engine, stack: list[FixRecord]
) -> None:
    before = {name: tensor.clone() for name, tensor in engine.task.model.state_dict().items()}
    warm = engine.replay(stack[-1].fix_id)
    history = engine.project.history
    history.delete(stack[0].fix_id)
    history.delete(stack[1].fix_id)
    try:
        cold = Engine(engine.project, device="cpu").replay(stack[-1].fix_id)
        with pytest.raises(NotFoundError):
            history.get(stack[0].fix_id)
    finally:
        history.restore(stack[0].fix_id)
        history.restore(stack[1].fix_id)
    assert warm.difference == cold.difference == 0
    pairs = zip(warm.model.state_dict().values(), cold.model.state_dict().values(), strict=True)
    assert all(torch.equal(mine, other) for mine, other in pairs)
    assert all(torch.equal(before[name], tensor) for name, tensor in engine.task.model.state_dict().items())


def test_only_the_last_few_models_are_kept(engine: Engine, stack: list[FixRecord]) -> None:
    own = Engine(engine.project, device="cpu")
    own._patched._most = 1
    tables = [own.predictions(fix.fix_id) for fix in stack]
    assert len(own._patched._kept) == 1
    for fix, table in zip(stack, tables, strict=True):
        assert own.predictions(fix.fix_id).equals(table) and engine.predictions(fix.fix_id).equals(table)


def test_what_the_base_broke_can_be_fixed_and_what_it_fixed_cannot(engine: Engine) -> None:
    found = None
    for row in engine.project.mispredictions():
        fix = engine.fix(row["id"], strategy="unlearn", controls=False, steps=STEPS)
        if fix.fixed and fix.newly_broken:
            found = fix
            break
    assert found is not None
    engine.project.history.save(found)
    with pytest.raises(UsageError, match=f"predicted right with {found.fix_id} beneath"):
        engine.fix(found.test_id, base=found.fix_id)
    broken = found.newly_broken[0]
    with pytest.raises(UsageError, match="predicted right already"):
        engine.fix(broken)
    mended = engine.fix(broken, base=found.fix_id, steps=STEPS)
    assert mended.before.predicted == found.newly_broken_as[broken] != mended.true
    assert mended.stack is not None and (broken in mended.stack.broken) == (not mended.fixed)


def test_guard_and_controls_are_against_the_base(engine: Engine, stack: list[FixRecord]) -> None:
    base = stack[0].fix_id
    table = engine.predictions(base)
    wrong = [str(test_id) for test_id in table.index[table["label"] != table["predicted"]]]
    for test_id in wrong[:4]:
        fix = engine.fix(test_id, strategy="unlearn", base=base, guard=1, steps=STEPS)
        assert len(fix.newly_broken) <= 1
        for control in fix.controls:
            start = control.probability_per_step[0]
            assert start.true == pytest.approx(fix.before.probabilities[fix.true])
            change = round((control.accuracy_after - fix.accuracy_before) * len(table))
            assert change == control.newly_fixed - control.newly_broken + control.fixed


def test_bases_that_are_not_there_are_said(engine: Engine, stack: list[FixRecord]) -> None:
    history = engine.project.history
    wrong = engine.project.mispredictions()[0]["id"]
    with pytest.raises(NotFoundError, match="no fix 'fix-none'"):
        engine.fix(wrong, base="fix-none")
    history.save(record("fix-orphan", base="fix-none"), state="preview")
    with pytest.raises(NotFoundError, match=r"'fix-none', on which 'fix-orphan' stands"):
        engine.replay("fix-orphan")
    history.save(record("fix-one", base="fix-two"), state="preview")
    history.save(record("fix-two", base="fix-one"), state="preview")
    with pytest.raises(ProjectError, match="stands on itself"):
        engine.predictions("fix-one")


def test_command_and_export_repeat_the_whole_stack(
    engine: Engine, stack: list[FixRecord], tracefix: CommandLine, tmp_path: Path
) -> None:
    top = stack[-1]
    again = json.loads(
        tracefix(*shlex.split(replay_command(engine.project.directory, top))[1:], "--json").out
    )
    for key in ("base", "before", "after", "steps", "newly_broken", "stack"):
        assert again[key] == json.loads(json.dumps(top.contract()[key])), key
    exported = export_fix(engine, top.fix_id, tmp_path / "out")
    assert exported.difference == 0 and len(exported.before) == 2
    readme = (tmp_path / "out" / "README.txt").read_text()
    places = [readme.index(command) for command in (*exported.before, exported.command)]
    assert places == sorted(places)
    assert f"--on {stack[0].fix_id}" in exported.before[1] and "--on" not in exported.before[0]
    assert {f"edits-{fix.fix_id}.csv" for fix in stack[:2]} <= set(exported.files)
    assert "2 earlier fixes" in readme and "Against the project's own model" in readme
    refused = tracefix.refused("fix", engine.project.directory, top.test_id, "--on", "fix-none")
    assert "no fix 'fix-none'" in refused


def test_words_say_what_stands_on_what(stack: list[FixRecord]) -> None:
    bottom, middle, top = stack
    assert beneath_sentence(bottom) is None and stack_sentence(bottom) == ""
    assert "On top of an earlier fix" in str(beneath_sentence(middle))
    assert "On top of 2 earlier fixes" in str(beneath_sentence(top))
    assert stack_sentence(top).startswith("All 3 fixes together, against the original model")
    assert top.stack is not None
    spoilt = top.model_copy(update={"newly_broken": [bottom.test_id]})
    assert f"test example {bottom.test_id} is predicted wrong again" in str(undone_sentence(spoilt))
    assert undone_sentence(top.model_copy(update={"newly_broken": []})) is None
