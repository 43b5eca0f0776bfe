"""Verifying on the preview page, and the words that page, report and command line share."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from attribution import Engine
from attribution.projects import FixRecord, Project, VerificationRecord
from attribution.projects.verification_record import Change, PredictedPart, Share
from dashboard.messages import escaped
from dashboard.report import page_of
from dashboard.views.verification import (
    change_words,
    cost_sentence,
    outcome_sentence,
    spread_sentence,
    training_sentence,
    verdict,
)
from dashboard.views.verification_figure import verification_figure
from tests.app.drawn_pages import PATIENCE, OpenPage


def record(
    predicted: float, mean: float, half: float | None = 0.4, *, fix_id: str = "fix-1", **changes: object
) -> VerificationRecord:
    """A verification over three seeds, or over one where there is no interval."""
    count = 1 if half is None else 3
    made = VerificationRecord(
        fix_id=fix_id,
        created="2026-01-01T00:00:00+00:00",
        test_ids=["t"],
        seeds=list(range(count)),
        method="path",
        refined=True,
        fix_method="path",
        predicted=predicted,
        parts=[PredictedPart(train_id="a", action="remove", predicted=predicted)],
        actual=Change(
            mean=mean, interval=None if half is None else (mean - half, mean + half), per_seed=[mean] * count
        ),
        margins_without=[0.5, 1.25, -0.25][:count],
        retrained_right=Share(without_edits=0.0, with_edits=2 / 3 if half is not None else 1.0),
        accuracy=Share(without_edits=0.957, with_edits=0.955),
        from_step=0,
        steps=400,
        batch_size=100,
        optimizer="sgd",
        device="cpu",
        seconds=12.0,
        trained=6,
    )
    return made.model_copy(update=changes)


@pytest.mark.parametrize(
    ("predicted", "mean", "half", "words"),
    [
        (-1.6, -1.9, 0.4, "Held: retraining moved the margin by −1.9 ± 0.4 (3 seeds), predicted −1.6."),
        (-3.0, -1.6, 0.4, "Held: "),  # within a factor of two
        (-3.0, -1.1, 0.4, "the same direction, but a third of the size."),
        (-1.0, -3.0, 0.4, "the same direction, but 3.0 times the size."),
        (-9.0, -0.5, 0.4, "the same direction, but less than a tenth of the size."),
        (-1.0, 0.8, 0.4, "moved the margin by +0.80 ± 0.40 (3 seeds), predicted −1.0: it went the other way."),
        (-9.0, 0.1, 0.4, "Did not hold: retraining moved the margin by +0.10 ± 0.40 (3 seeds), predicted"),
        (-0.5, -0.3, 0.4, "Cannot tell: the seeds differ more than the effect: "),
        (-0.5, -0.3, 0.4, "More seeds may tell."),
        (-2.0, -0.3, 0.4, "An effect as large as predicted can be ruled out"),
        (-0.5, -0.3, None, "Cannot tell from one seed: retraining moved the margin by −0.30 (1 seed), pred"),
        (0.0, 1.0, 0.4, "Did not hold: "),
    ],
)  # fmt: skip
def test_the_verdict_says_whether_the_explanation_held(
    predicted: float, mean: float, half: float | None, words: str
) -> None:
    assert words in verdict(record(predicted, mean, half))


def test_what_was_trained_is_said_with_its_start() -> None:
    whole = training_sentence(record(-1, -1))
    assert whole.startswith("Retrained from the beginning, 400 steps, ")
    assert "predicted by path with refined curvature." in whole
    part = training_sentence(record(-1, -1, from_step=192, steps=1152, fix_method="tracin", refined=False))
    assert "from step 192 of 1,152, the earliest checkpoint" in part
    assert "predicted by path, as scores of tracin do not estimate retraining." in part
    assert (
        "right in 2 of 3 seeds, without them in 0; test accuracy 95.5 % against 95.7 %"
        in outcome_sentence(record(-1, -1))
    )
    together = outcome_sentence(record(-1, -1, test_ids=["t", "u"]))
    assert "with the edits 4 of 6 predictions are right (2 examples, 3 seeds), without them 0;" in together
    assert "between −0.25 and +1.2" in str(spread_sentence(record(-1, -1)))
    assert spread_sentence(record(-1, -1, None)) is None


def test_the_cost_is_said_as_far_as_it_is_known() -> None:
    assert "6 times for 400 steps, 3 of them with the edits" in cost_sentence(3, 400, None)
    assert "as its training record says" in cost_sentence(3, None, None)
    assert "5 times with the edits, about 10 s" in cost_sentence(5, 400, record(-1, -1))


def test_the_figure_has_the_prediction_the_mean_and_every_seed() -> None:
    made = record(-1.6, -1.9)
    predicted, seeds, mean = verification_figure(made).data
    assert list(predicted.x) == [-1.6]
    assert list(seeds.x) == made.actual.per_seed
    assert list(mean.x) == [-1.9]
    assert list(mean.error_x.array) == pytest.approx([0.4])
    assert verification_figure(record(-1, -1, None)).data[2].error_x.array is None


@pytest.fixture
def fix(own_projects: Path, own_digits: Project) -> FixRecord:
    """A preview in a copy of `digits`."""
    engine = Engine(own_digits, device="cpu")
    made = engine.fix(own_digits.mispredictions()[1]["id"], top=3, steps=3, controls=False)
    own_digits.history.save(made, state="preview")
    return made


def words_of(app: AppTest) -> str:
    return " ".join(node.value for node in [*app.markdown, *app.caption])


def test_a_preview_can_be_verified_in_the_background(
    fix: FixRecord, own_digits: Project, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training itself is tested elsewhere: here it only says what it found."""

    def verify(self: Engine, fix_id: str, *, seeds: int, reporter: object) -> VerificationRecord:
        found = record(-1.6, -1.9, fix_id=fix_id)
        assert seeds == 5
        self.project.history.save_verification(found)
        return found

    monkeypatch.setattr(Engine, "verify", verify)
    app = open_page("preview", project="digits", fix=fix.fix_id)
    assert not app.exception
    assert app.button(key="verify").label == "Verify by retraining"
    assert "Trains the model 6 times for 400 steps" in words_of(app)
    app.selectbox(key="seeds").set_value(5).run()
    app.button(key="verify").click().run()
    deadline = time.monotonic() + PATIENCE
    while "Held" not in words_of(app):
        assert time.monotonic() < deadline, [node.value for node in app.error]
        app.run()
    assert not app.exception
    assert app.button(key="verify").label == "Verify again"
    assert escaped(verdict(record(-1.6, -1.9))) in words_of(app)


def test_why_a_verification_failed_is_shown(
    fix: FixRecord, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attribution.errors import MissingRequirementError

    def verify(self: Engine, fix_id: str, *, seeds: int, reporter: object) -> VerificationRecord:
        raise MissingRequirementError("The record says too little: give steps=.")

    monkeypatch.setattr(Engine, "verify", verify)
    app = open_page("preview", project="digits", fix=fix.fix_id)
    app.button(key="verify").click().run()
    deadline = time.monotonic() + PATIENCE
    while not app.error:
        assert time.monotonic() < deadline
        app.run()
    assert "The record says too little" in app.error[0].value
    assert not app.button(key="verify").disabled


def test_a_control_fix_has_nothing_to_verify(
    fix: FixRecord, own_digits: Project, open_page: OpenPage
) -> None:
    control = fix.model_copy(update={"fix_id": "fix-control", "strategy": "test", "edits": []})
    own_digits.history.save(control, state="preview")
    app = open_page("preview", project="digits", fix="fix-control")
    assert "edits no training data" in words_of(app)
    assert "verify" not in [button.key for button in app.button]


def test_the_report_says_what_the_page_says(fix: FixRecord, own_digits: Project) -> None:
    assert "has not been tried here" in page_of(own_digits, fix, None)
    found = record(-1.6, -1.9, fix_id=fix.fix_id)
    own_digits.history.save_verification(found)
    page = page_of(own_digits, fix, None)
    assert "has not been tried here" not in page
    for sentence in (verdict(found), outcome_sentence(found), training_sentence(found), change_words(found)):
        assert sentence in page
