"""The correction study: its figures are those of the fixes it made, and cancelling stores nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from attribution import Engine
from attribution.errors import Cancelled, NotFoundError
from attribution.progress import CancelToken, Reporter
from attribution.projects import Project
from attribution.studies.correction import FILE, MOST, correction_study, random_edits
from tests.command_line import CommandLine


@pytest.fixture
def engine(own_digits: Project) -> Engine:
    return Engine(own_digits, device="cpu")


def test_a_study_sums_up_its_fixes(engine: Engine) -> None:
    result = correction_study(engine, methods=["tracin"], strategies=["helpers", "test"], top=4, most=3)
    wrong = [row["id"] for row in engine.project.mispredictions()]
    tried = [wrong[0], wrong[(len(wrong) - 1) // 2], wrong[-1]]
    assert result["mispredictions"] == 3 and set(result["strategies"]) == {"helpers", "test"}
    assert set(result["strategies"]["helpers"]) == {"tracin", "random_same_class", "random"}
    fixes = [engine.fix(test_id, method="tracin", top=4) for test_id in tried]
    row = result["strategies"]["helpers"]["tracin"]
    assert row["success"] == np.mean([fix.fixed for fix in fixes])
    assert row["median_steps"] == np.median([fix.steps for fix in fixes if fix.fixed])
    broken = [len(fix.newly_broken) for fix in fixes]
    assert row["newly_broken"] == pytest.approx(np.mean(broken))
    assert row["newly_broken_standard_error"] == pytest.approx(np.std(broken, ddof=1) / np.sqrt(3))
    change = [fix.accuracy_after - fix.accuracy_before for fix in fixes]
    assert row["accuracy_change"] == pytest.approx(np.mean(change))
    assert json.loads((engine.project.directory / FILE).read_text()) == result


def test_without_controls_the_fix_is_the_same(engine: Engine) -> None:
    wrong = engine.project.mispredictions()[-5]["id"]
    alone, beside = (engine.fix(wrong, controls=controls) for controls in (False, True))
    assert alone.after == beside.after and alone.newly_broken == beside.newly_broken
    assert not alone.controls and beside.controls


def test_random_examples_are_of_the_class_they_are_drawn_from(engine: Engine) -> None:
    project = engine.project
    wrong = project.mispredictions()[0]
    for strategy, expected in (("helpers", wrong["true"]), ("unlearn", wrong["predicted"])):
        edits = random_edits(project, wrong["id"], strategy, same_class=True, top=6, seed=1)
        cards = project.describe("train", [edit.train_id for edit in edits])
        assert len(edits) == 6 and {card["label"] for card in cards} == {expected}
        assert edits == random_edits(project, wrong["id"], strategy, same_class=True, top=6, seed=1)
        assert edits != random_edits(project, wrong["id"], strategy, same_class=True, top=6, seed=2)
    relabelled = random_edits(project, wrong["id"], "relabel", same_class=False, top=20, seed=1)
    assert {edit.label for edit in relabelled} == {wrong["true"]}
    with pytest.raises(NotFoundError, match="takes no training examples"):
        random_edits(project, wrong["id"], "test", same_class=False, top=1, seed=1)


def test_cancelling_stores_nothing(engine: Engine) -> None:
    token = CancelToken()

    def progress(fraction: float, _: str) -> None:
        if fraction > 0.3:
            token.cancel()

    with pytest.raises(Cancelled):
        correction_study(
            engine,
            methods=["tracin"],
            strategies=["helpers", "test"],
            top=2,
            most=2,
            reporter=Reporter(progress, token),
        )
    assert not (engine.project.directory / FILE).exists()


def test_the_command_prints_what_it_stores(tracefix: CommandLine, own_digits: Project) -> None:
    outcome = tracefix(
        *("study", own_digits.directory, "correction", "--methods", "tracin", "--mispredictions", "1"),
        *("--top", "3", "--steps", "5", "--json"),
    )
    assert outcome.status == 0
    document = json.loads(outcome.out)
    assert document == json.loads((own_digits.directory / FILE).read_text())
    assert document["mispredictions"] == 1 < MOST
    assert document["strategies"]["helpers"]["tracin"]["success_standard_error"] is None
    wrong = tracefix("study", own_digits.directory, "everything")
    assert wrong.status == 2 and "correction" in wrong.err
