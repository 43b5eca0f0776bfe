"""Suggestions: what is relabelled looks mislabelled, the choice is small and harmless, and every sentence is true."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from attribution import Engine
from attribution.batches import batch_of
from attribution.errors import Cancelled, NotFoundError, UsageError
from attribution.fixing.candidates import Candidate, Pool
from attribution.fixing.context import FixContext
from attribution.fixing.harm import Harm
from attribution.fixing.pull import pulls
from attribution.fixing.suggestion import SLACK, Suggestion, Tried, choose, reasons
from attribution.fixing.treatment import Treatment
from attribution.progress import SILENT, CancelToken, Reporter
from attribution.projects import Edit, Project
from attribution.projects.held_out import HeldOut
from tests.command_line import CommandLine


@pytest.fixture(scope="module")
def engine(prepared_digits: Project) -> Engine:
    return Engine(prepared_digits, device="cpu")


@pytest.fixture(scope="module")
def suggestions(engine: Engine) -> dict[str, Suggestion]:
    """Of a few mispredictions, strong and mild."""
    ids = [row["id"] for row in engine.project.mispredictions()[::8]]
    return {test_id: engine.propose(test_id) for test_id in ids}


def tried(
    size: int,
    broken: int,
    loss: float = 0.0,
    *,
    fixed: bool = True,
    stays: bool = True,
    reached: float = 0.9,
    kind: str = "upweighted",
) -> Tried:
    members = {kind: tuple(range(size))}
    return Tried(
        candidate=Candidate(**members),
        edits=[],
        fixed=fixed,
        stays=stays,
        steps=3,
        count=int(fixed),
        reached=reached,
        harm=Harm(broken=broken, repaired=1, loss=loss, watched=500),
    )


# -- the choice -----------------------------------------------------------------------------------------------------


def test_the_smallest_set_of_nearly_the_least_harm_is_chosen() -> None:
    small, large, worse = tried(1, 2), tried(10, 1), tried(2, 9)
    assert choose([large, worse, small]) is small
    assert choose([tried(1, 4), large]) is large
    assert SLACK == 1.0


def test_a_rise_of_the_loss_counts_as_harm() -> None:
    assert tried(1, 2, loss=6.0).harm.amount == 5.0
    gentle, harsh = tried(3, 1, loss=0.0), tried(1, 1, loss=8.0)
    assert choose([harsh, gentle]) is gentle


def test_what_stays_fixed_comes_before_what_does_not() -> None:
    fleeting, lasting, failed = tried(1, 0, stays=False), tried(5, 9), tried(1, 0, fixed=False)
    assert choose([fleeting, lasting, failed]) is lasting
    assert choose([fleeting, failed]) is fleeting
    close = tried(4, 20, fixed=False, reached=0.45)
    assert choose([tried(1, 0, fixed=False, reached=0.1), close]) is close


def test_a_set_that_ruins_the_rest_is_no_fix() -> None:
    ruinous, harmless = tried(1, 51), tried(3, 2, fixed=False, reached=0.4)
    assert ruinous.success == 2 and tried(1, 50).success == 0
    assert choose([ruinous, harmless]) is harmless
    said = reasons(harmless, [ruinous, harmless], None)[-1]
    assert "None of 2 sets tried fixes the prediction at a bearable price" in said and "40%" in said


# -- what is tried --------------------------------------------------------------------------------------------------


def test_only_labels_that_look_wrong_are_changed_or_taken_out(
    engine: Engine, suggestions: dict[str, Suggestion]
) -> None:
    project, held_out = engine.project, engine.project.held_out
    assert held_out is not None
    seen = set()
    for test_id, found in suggestions.items():
        true = project.example("test", test_id)["true"]
        scores = engine.explain(test_id).scores
        for one in found.tried:
            for edit in one.edits:
                position = project.position("train", edit.train_id)
                seen.add(edit.action)
                if edit.action == "upweight":
                    assert not held_out.disbelieved[position] and scores[position] < 0
                    assert project.class_names[int(held_out.labels[position])] == true
                else:
                    assert held_out.disbelieved[position] and scores[position] > 0
                if edit.action == "relabel":
                    assert edit.label == project.class_names[int(held_out.best[position])]
    assert {"upweight", "relabel"} <= seen


def test_planted_errors_are_what_is_relabelled(engine: Engine, suggestions: dict[str, Suggestion]) -> None:
    train, names = engine.project.examples("train"), engine.project.class_names
    relabelled = {
        (edit.train_id, edit.label)
        for found in suggestions.values()
        for edit in found.edits
        if edit.action == "relabel"
    }
    assert relabelled
    right = [names[int(train.loc[train_id, "original_label"])] == label for train_id, label in relabelled]
    planted = [
        train.loc[train_id, "original_label"] != train.loc[train_id, "label"] for train_id, _ in relabelled
    ]
    assert np.mean(planted) > 0.9 and np.mean(right) > 0.9


def test_what_is_chosen_was_tested_and_fixes(engine: Engine, suggestions: dict[str, Suggestion]) -> None:
    for test_id, found in suggestions.items():
        assert found.chosen in found.tried and found.edits == found.chosen.edits
        assert len({json.dumps([edit.model_dump() for edit in one.edits]) for one in found.tried}) == len(
            found.tried
        )
        assert found.chosen.fixed
        fix = engine.fix(test_id, edits=found.edits, controls=False)
        assert fix.fixed and fix.strategy == found.strategy


def test_without_held_out_labels_only_helpers_are_tried(engine: Engine) -> None:
    explanation = engine.explain(engine.project.mispredictions()[0]["id"])
    pool = Pool.of(explanation, None)
    assert not pool.suspects and not pool.doubtful and pool.helpers
    assert {candidate.kind for candidate in pool.candidates()} == {"upweight"}
    with pytest.raises(UsageError, match="worth suggesting"):
        Pool([], [], []).candidates()


def test_several_mispredictions_get_one_suggestion(engine: Engine) -> None:
    ids = [row["id"] for row in engine.project.mispredictions()[-3:-1]]
    found = engine.propose(ids)
    fix = engine.fix(ids, strategy="suggest", controls=False)
    assert fix.edits == found.edits and fix.test_ids == ids
    assert fix.suggestion == found.reasons


# -- words ----------------------------------------------------------------------------------------------------------


def held_out_of(probabilities: list[float]) -> HeldOut:
    """Two classes; every example is labelled 0, with the given probability."""
    columns = np.array([probabilities, [1 - p for p in probabilities]], dtype=np.float32).T
    return HeldOut(
        columns, np.zeros(len(probabilities), dtype=np.int64), np.ones(len(probabilities), dtype=bool)
    )


def test_reasons_say_how_improbable_the_labels_are() -> None:
    held_out = held_out_of([0.02, 0.04, 0.003, 0.9])
    chosen = Tried(
        Candidate(relabelled=(0, 1), upweighted=(3,)), [], True, True, 2, 1, 0.8, Harm(1, 2, -1.0, 900)
    )
    said = reasons(chosen, [chosen, tried(1, 7)], held_out)
    assert said[0].startswith(
        "2 of these 3 look mislabelled: the model, held out, gives them p < .05 for their"
    )
    assert "1 helper of the true class is trained on" in said[1]
    assert "of 900 other training predictions it makes 1 wrong, 2 right" in said[2]
    assert "Training on 1 helper instead would make 7 predictions wrong" in said[3]
    alone = Tried(Candidate(relabelled=(2,)), [], True, True, 2, 1, 0.8, Harm(0, 0, 0.0, 900))
    said = reasons(alone, [alone], held_out)
    assert said[0].startswith("This one looks mislabelled") and "p < .01" in said[0]
    assert "the only one that fixes" in said[1]


def test_failure_is_said() -> None:
    only = tried(1, 0, fixed=False, reached=0.31)
    said = reasons(only, [only, tried(2, 0, fixed=False, reached=0.2)], None)
    assert any(
        "None of 2 sets tried fixes the prediction" in sentence and "31%" in sentence for sentence in said
    )
    said = reasons(only, [only], None, targets=4)
    assert any("fixes all 4 predictions: this one comes closest, with 0" in sentence for sentence in said)


# -- from outside ---------------------------------------------------------------------------------------------------


def test_a_suggested_fix_is_recorded_with_reasons_and_replayed_exactly(engine: Engine) -> None:
    test_id = engine.project.mispredictions()[-4]["id"]
    fix = engine.fix(test_id, strategy="suggest", seed=2)
    assert fix.suggestion and fix.contract()["suggestion"] == fix.suggestion
    assert fix.strategy in {"helpers", "relabel", "remove"}
    engine.project.history.save(fix, state="kept")
    assert engine.project.history.get(fix.fix_id).suggestion == fix.suggestion
    assert engine.replay(fix.fix_id).difference == 0
    Treatment.of(engine.project, fix.strategy, fix.edits)


def test_a_suggestion_on_top_of_a_fix_starts_from_its_model(engine: Engine) -> None:
    wrong = engine.project.mispredictions()
    first = engine.fix(wrong[-1]["id"], controls=False)
    engine.project.history.save(first, state="kept")
    table = engine.predictions(first.fix_id)
    left = [row["id"] for row in wrong if table.loc[row["id"], "label"] != table.loc[row["id"], "predicted"]]
    fix = engine.fix(left[-1], strategy="suggest", base=first.fix_id, controls=False)
    assert fix.suggestion and fix.base == first.fix_id
    assert fix.accuracy_before == pytest.approx(first.accuracy_after)
    with pytest.raises(UsageError, match="predicted right"):
        engine.propose(wrong[-1]["id"], base=first.fix_id)


def test_the_pull_of_a_relabelled_example_is_what_a_small_step_on_it_does(engine: Engine) -> None:
    """Against a real step with plain gradients."""
    wrong = engine.project.mispredictions()[:2]
    positions = [engine.project.position("test", row["id"]) for row in wrong]
    rows = engine.project.predictions("test").iloc[positions]
    context, labels = FixContext.of(engine._run), {7: 3, 2: 5}
    found = pulls(context, dict, positions, labels, SILENT)
    inputs = batch_of(engine.task, "test", positions).inputs

    def margin(model: torch.nn.Module) -> float:
        with torch.no_grad():
            logits = engine.task.logits(model, inputs)
        true, predicted = rows["label"].tolist(), rows["predicted"].tolist()
        return float((logits[[0, 1], predicted] - logits[[0, 1], true]).mean())

    for (position, label), expected in zip(labels.items(), found, strict=True):
        patched = copy.deepcopy(context.model)
        example = batch_of(engine.task, "train", [position])
        loss = engine.task.loss(engine.task.logits(patched, example.inputs), torch.tensor([label])).mean()
        loss.backward()
        rate = 1e-4
        with torch.no_grad():
            for parameter in patched.parameters():
                parameter -= rate * parameter.grad
        assert (margin(context.model) - margin(patched)) / rate == pytest.approx(expected, rel=0.02, abs=0.05)


def test_helpers_of_little_other_effect_come_first(engine: Engine) -> None:
    explanation = engine.explain(engine.project.mispredictions()[0]["id"])
    held_out = engine.project.held_out
    plain = Pool.of(explanation, held_out)
    relative = np.zeros(len(explanation.scores))
    relative[plain.helpers[4]], relative[plain.helpers[-1]] = -1, -2
    ordered = Pool.of(explanation, held_out, relative)
    assert ordered.helpers[0] == plain.helpers[4] and len(ordered.helpers) == 30
    assert ordered.suspects == plain.suspects


def test_the_guard_holds_while_sets_are_tried(engine: Engine) -> None:
    test_id = engine.project.mispredictions()[0]["id"]
    fix = engine.fix(test_id, strategy="suggest", guard=1, controls=False)
    assert len(fix.newly_broken) <= 1


def test_wrong_use_is_said(engine: Engine, tracefix: CommandLine) -> None:
    test_id = engine.project.mispredictions()[0]["id"]
    with pytest.raises(UsageError, match="leave --train-ids out"):
        engine.fix(test_id, strategy="suggest", train_ids=["digit-0000"])
    with pytest.raises(NotFoundError):
        engine.propose("nothing")
    outcome = tracefix("fix", engine.project.directory, test_id, "--strategy", "suggest", "--top", "3")
    assert outcome.status == 2 and "leave --top and --train-ids out" in outcome.err
    right = next(
        str(name)
        for name, row in engine.project.predictions("test").iterrows()
        if row["label"] == row["predicted"]
    )
    with pytest.raises(UsageError, match="predicted right already"):
        engine.propose(right)


def test_the_command_line_says_why(engine: Engine, tracefix: CommandLine) -> None:
    test_id = engine.project.mispredictions()[-1]["id"]
    outcome = tracefix("fix", engine.project.directory, test_id, "--strategy", "suggest")
    assert outcome.status == 0
    assert "other training predictions it makes" in " ".join(outcome.out.split())
    document = json.loads(
        tracefix("fix", engine.project.directory, test_id, "--strategy", "suggest", "--json").out
    )
    assert document["suggestion"] and document["strategy"] in {"helpers", "relabel", "remove"}


def test_it_can_be_cancelled(engine: Engine) -> None:
    token = CancelToken()

    def progress(fraction: float, _: str) -> None:
        if fraction > 0.5:
            token.cancel()

    with pytest.raises(Cancelled):
        engine.propose(engine.project.mispredictions()[0]["id"], reporter=Reporter(progress, token))


def test_edits_of_a_candidate_name_classes(engine: Engine) -> None:
    held_out = engine.project.held_out
    assert held_out is not None
    position = int(np.flatnonzero(held_out.mislabelled)[0])
    ids = engine.project.predictions("train").index
    edits = Candidate(relabelled=(position,), upweighted=(3,), removed=(4,)).edits(engine.project, held_out)
    assert edits == [
        Edit(
            train_id=str(ids[position]),
            action="relabel",
            label=engine.project.class_names[int(held_out.best[position])],
        ),
        Edit(train_id=str(ids[3]), action="upweight"),
        Edit(train_id=str(ids[4]), action="remove"),
    ]
