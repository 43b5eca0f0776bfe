"""Fixes: they correct mispredictions on a copy, beside controls of the same shape, and report every side effect."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from attribution import Engine
from attribution.batches import batches
from attribution.errors import NotFoundError, NumericalError, UsageError
from attribution.fixing.controls import control_sets
from attribution.fixing.side_effects import compare, paired_interval
from attribution.projects import Edit, Project


@pytest.fixture(scope="module")
def engine(prepared_digits: Project) -> Engine:
    return Engine(prepared_digits, device="cpu")


@pytest.fixture(scope="module")
def misprediction(engine: Engine) -> str:
    """One of the milder mispredictions."""
    return str(engine.project.mispredictions()[-5]["id"])


@pytest.mark.parametrize("strategy", ["helpers", "relabel"])
def test_a_fix_corrects_the_prediction_and_leaves_the_model_alone(
    engine: Engine, misprediction: str, strategy: str
) -> None:
    before = {name: tensor.clone() for name, tensor in engine.task.model.state_dict().items()}
    fix = engine.fix(misprediction, strategy=strategy, top=10)
    assert fix.fixed and 1 <= fix.steps <= 50
    assert fix.after.predicted == fix.true != fix.before.predicted
    assert all(torch.equal(before[name], tensor) for name, tensor in engine.task.model.state_dict().items())
    assert sum(fix.after.probabilities.values()) == pytest.approx(1, abs=1e-9)
    assert [point.step for point in fix.probability_per_step] == list(range(fix.steps + 1))
    assert fix.probability_per_step[0].true == pytest.approx(fix.before.probabilities[fix.true])


def test_the_same_recipe_gives_the_same_result(engine: Engine, misprediction: str) -> None:
    first, second = (engine.fix(misprediction, seed=7).contract() for _ in range(2))
    for record in (first, second):
        record.pop("fix_id")
        record.pop("seconds")
    assert first == second


def test_helpers_are_of_the_true_class_and_relabelled_culprits_are_not(
    engine: Engine, misprediction: str
) -> None:
    explanation = engine.explain(misprediction)
    true = explanation.example["true"]
    helpers = engine.suggest(explanation, strategy="helpers", top=6)
    assert len(helpers) == 6 and {edit.action for edit in helpers} == {"upweight"}
    labels = {card["label"] for card in engine.project.describe("train", [e.train_id for e in helpers])}
    assert labels == {true}
    culprits = engine.suggest(explanation, strategy="relabel", top=6)
    assert {(edit.action, edit.label) for edit in culprits} == {("relabel", true)}
    labels = {card["label"] for card in engine.project.describe("train", [e.train_id for e in culprits])}
    assert true not in labels


def test_accuracy_after_is_the_accuracy_of_the_patched_predictions(
    engine: Engine, misprediction: str
) -> None:
    fix = engine.fix(misprediction)
    total = len(engine.project.predictions("test"))
    gained = len(fix.newly_fixed) + int(fix.fixed)
    change = (gained - len(fix.newly_broken)) / total
    assert fix.accuracy_after - fix.accuracy_before == pytest.approx(change)
    assert fix.accuracy_interval[0] <= change <= fix.accuracy_interval[1]
    assert misprediction not in fix.newly_fixed
    assert list(fix.newly_broken_as) == fix.newly_broken
    weighted = sum(c.after * c.count for c in fix.per_class) / total
    assert weighted == pytest.approx(fix.accuracy_after)


def test_controls_stand_beside_every_fix(engine: Engine, misprediction: str) -> None:
    fix = engine.fix(misprediction, top=8)
    assert [control.name for control in fix.controls] == ["random_same_class", "nearest_representation"]
    for control in fix.controls:
        assert len(control.train_ids) == 8
        described = engine.project.describe("train", control.train_ids)
        assert {card["label"] for card in described} == {fix.true}
    assert not set(fix.controls[0].train_ids) & set(fix.train_ids)


def test_own_edits_are_carried_out(engine: Engine, misprediction: str) -> None:
    true = engine.project.example("test", misprediction)["true"]
    train = engine.project.predictions("train")
    number = engine.project.class_names.index(true)
    of_class = list(train.index[train["label"] == number][:3])
    other = str(train.index[train["label"] != number][0])
    edits = [Edit(train_id=i, action="upweight") for i in of_class]
    edits.append(Edit(train_id=other, action="relabel", label=true))
    fix = engine.fix(misprediction, edits=edits)
    assert fix.train_ids == [*of_class, other] and fix.edits == edits


def test_what_cannot_be_done_is_said(engine: Engine, misprediction: str) -> None:
    right = engine.project.predictions("test").query("label == predicted").index[0]
    with pytest.raises(UsageError, match="predicted right already"):
        engine.fix(right)
    with pytest.raises(NotFoundError, match="There is no strategy 'magic'"):
        engine.fix(misprediction, strategy="magic")
    with pytest.raises(NotFoundError, match="There is no train example 'nobody'"):
        engine.fix(misprediction, train_ids=["nobody"])
    with pytest.raises(UsageError, match="at least 1"):
        engine.fix(misprediction, steps=0)
    known = str(engine.project.predictions("train").index[0])
    with pytest.raises(NotFoundError, match="There is no class '99'"):
        engine.fix(misprediction, edits=[Edit(train_id=known, action="relabel", label="99")])
    with pytest.raises(UsageError, match="twice"):
        engine.fix(misprediction, edits=[Edit(train_id=known, action="upweight")] * 2)
    with pytest.raises(UsageError, match="no training example to train on"):
        engine.fix(misprediction, edits=[])


def test_a_step_size_that_diverges_leaves_the_others_in_the_race(
    engine: Engine, misprediction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attribution.fixing.step_size.FACTORS", (1.0, 1e30))
    fix = engine.fix(misprediction)
    assert fix.fixed and fix.learning_rate < 1


def test_divergence_at_every_step_size_is_said_and_changes_nothing(
    engine: Engine, misprediction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attribution.fixing.step_size.FACTORS", (1e30,))
    with pytest.raises(NumericalError, match="diverged at every step size"):
        engine.fix(misprediction)
    monkeypatch.undo()
    assert engine.fix(misprediction).fixed


def test_culprits_are_planted_errors_far_more_often_than_chance(engine: Engine) -> None:
    """10 % of the training labels are wrong on purpose; a tracing method has to find several times that share."""
    examples = engine.project.examples("train")
    planted = (examples["label"] != examples["original_label"]).to_numpy()
    shares = []
    for wrong in engine.project.mispredictions():
        culprits = engine.explain(wrong["id"], method="tracin").culprits(10)
        shares.append(np.mean([planted[card["position"]] for card in culprits]))
    assert planted.mean() == pytest.approx(0.1)
    assert np.mean(shares) > 0.5


@given(some.lists(some.integers(0, 2), min_size=6, max_size=40), some.integers(1, 6), some.integers(0, 5))
def test_controls_have_the_labels_of_the_chosen(labels: list[int], count: int, seed: int) -> None:
    classes = np.array(labels)
    chosen = list(range(min(count, len(labels))))
    similarity = np.random.default_rng(seed).normal(size=len(labels))
    for control in control_sets(chosen, classes, similarity, seed):
        assert [classes[p] for p in control.positions] == [classes[p] for p in chosen]


@given(some.lists(some.tuples(*[some.integers(0, 2)] * 3), min_size=1, max_size=30), some.data())
def test_side_effects_add_up(rows: list[tuple[int, int, int]], data: some.DataObject) -> None:
    labels, before, after = (np.array(column) for column in zip(*rows, strict=True))
    target = data.draw(some.integers(0, len(rows) - 1))
    effects = compare(labels, before, after, [target])
    others = np.arange(len(rows)) != target
    change = (after == labels)[others].sum() - (before == labels)[others].sum()
    assert len(effects.newly_fixed) - len(effects.newly_broken) == change
    assert target not in effects.newly_fixed + effects.newly_broken
    assert effects.newly_broken_as == [int(after[p]) for p in effects.newly_broken]
    assert all(labels[p] != c for p, c in zip(effects.newly_broken, effects.newly_broken_as, strict=True))


@given(some.integers(0, 50), some.integers(0, 50))
def test_the_paired_interval_holds_its_estimate(gained: int, lost: int) -> None:
    low, high = paired_interval(gained, lost, 200)
    assert -1 <= low <= high <= 1
    assert low < (gained - lost) / 202 < high


def test_batches_hold_every_example_once(engine: Engine) -> None:
    seen = torch.cat([batch.positions for batch in batches(engine.task, "train", 77)])
    assert sorted(seen.tolist()) == list(range(1000))
