"""The correction study: its figures are those of the fixes it made, and cancelling stores nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from attribution import Engine
from attribution.errors import Cancelled, NotFoundError
from attribution.progress import CancelToken, Reporter
from attribution.projects import Project
from attribution.projects.study_records import CORRECTION
from attribution.studies.asked import evenly
from attribution.studies.correction import MOST, OUTCOMES, correction_study, random_edits
from attribution.studies.outcomes import Outcome, Outcomes
from attribution.studies.summary import difference, summary
from tests.command_line import CommandLine


@pytest.fixture
def engine(own_digits: Project) -> Engine:
    return Engine(own_digits, device="cpu")


def test_a_study_sums_up_its_fixes(engine: Engine) -> None:
    result = correction_study(engine, methods=["tracin"], strategies=["helpers", "test"], top=4, most=3)
    wrong = [row["id"] for row in engine.project.mispredictions()]
    tried = [wrong[place] for place in evenly(len(wrong), 3)]
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
    repaired = [len(fix.newly_fixed) for fix in fixes]
    assert row["broken_per_fixed"] == pytest.approx(sum(broken) / sum(repaired))
    assert json.loads((engine.project.directory / CORRECTION).read_text()) == result


def test_places_are_spread_evenly_however_many_they_are() -> None:
    assert sorted(evenly(7, 200)) == list(range(7)) and evenly(0, 5) == []
    for count in (1, 5, 24, 100, 200):
        found = evenly(230, count)
        assert found == evenly(230, 200)[:count]
        gaps = np.diff([-1, *sorted(found), 230])
        assert len(set(found)) == count and gaps.max() <= 2 * 230 / count + 1


def test_a_stopped_study_goes_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known is not fixed again, also in a study of more mispredictions; another recipe begins anew."""
    made: list[str] = []
    really = engine.fix

    def fix(test_id: str, **options: object) -> object:
        made.append(test_id)
        if len(made) == 4:
            raise KeyboardInterrupt
        return really(test_id, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "fix", fix)
    settings = {"methods": ["grad_dot"], "strategies": ["helpers"], "top": 2}
    with pytest.raises(KeyboardInterrupt):
        correction_study(engine, most=2, **settings)
    file = engine.project.directory / OUTCOMES
    assert len(file.read_text().splitlines()) == 1 + 3
    with file.open("a") as lines:
        lines.write('{"strategy": "helpers", "sel')  # a kill in the middle of a line
    made.clear()
    result = correction_study(engine, most=2, **settings)
    assert len(made) == 3
    assert result == correction_study(engine, most=2, **settings) and len(made) == 3
    made.clear()
    monkeypatch.setattr(
        engine, "fix", lambda test_id, **options: made.append(test_id) or really(test_id, **options)
    )
    correction_study(engine, most=3, **settings)
    assert len(made) == 3
    correction_study(engine, most=3, **settings | {"top": 3})
    assert len(made) == 3 + 9


def test_an_unreadable_line_costs_no_other(tmp_path: Path) -> None:
    file = tmp_path / "outcomes.jsonl"
    first = Outcomes(file, {"seed": 0})
    for name in ("a", "b", "c"):
        first.get("helpers", "path", name, lambda: Outcome(fixed=True, steps=2))
    lines = file.read_text().splitlines()
    lines[2] = lines[2][:20]
    file.write_text("\n".join(lines))
    again = Outcomes(file, {"seed": 0})
    assert (
        again.get("helpers", "path", "c", Outcome).fixed
        and not again.get("helpers", "path", "b", Outcome).fixed
    )
    other = Outcomes(file, {"seed": 1})
    assert not other.get("helpers", "path", "a", Outcome).fixed


def test_broken_per_fixed_has_an_interval_that_covers_it() -> None:
    """Poisson counts with a known ratio of means: 19 of 20 intervals hold it, within what chance leaves."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        pairs = zip(generator.poisson(6, 60), generator.poisson(3, 60), strict=True)
        outcomes = [Outcome(newly_broken=int(b), newly_fixed=int(f)) for b, f in pairs]
        low, high = summary(outcomes)["broken_per_fixed_interval"]
        held += low <= 2 <= high
    assert 180 <= held <= 199
    nothing = summary([Outcome(newly_broken=1), Outcome()])
    assert nothing["broken_per_fixed"] is None and nothing["broken_per_fixed_interval"] is None


def test_differences_are_paired() -> None:
    ours = [Outcome(newly_broken=n) for n in (1, 5, 9)]
    theirs = [Outcome(newly_broken=n + 2, fixed=True) for n in (1, 5, 9)]
    found = difference(ours, theirs)
    assert (
        found["newly_broken"] == -2 and found["newly_broken_standard_error"] == 0 and found["success"] == -1
    )


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
    assert not (engine.project.directory / CORRECTION).exists()


def test_the_command_prints_what_it_stores(tracefix: CommandLine, own_digits: Project) -> None:
    outcome = tracefix(
        *("study", own_digits.directory, "correction", "--methods", "tracin", "--mispredictions", "1"),
        *("--top", "3", "--steps", "5", "--json"),
    )
    assert outcome.status == 0
    document = json.loads(outcome.out)
    assert document == json.loads((own_digits.directory / CORRECTION).read_text())
    assert document["mispredictions"] == 1 < MOST
    assert document["strategies"]["helpers"]["tracin"]["success_standard_error"] is None
    some = tracefix(
        *("study", own_digits.directory, "correction", "--methods", "tracin", "--mispredictions", "1"),
        *("--top", "3", "--steps", "5", "--strategies", "test,helpers", "--json"),
    )
    assert some.status == 0 and list(json.loads(some.out)["strategies"]) == ["test", "helpers"]
    unknown = tracefix("study", own_digits.directory, "correction", "--strategies", "luck")
    assert unknown.status == 1 and "no strategy 'luck'" in unknown.err
    wrong = tracefix("study", own_digits.directory, "everything")
    assert wrong.status == 2 and "correction" in wrong.err
