"""Pure parts of the pages: the tray in a link, filters, intervals, sentences, escaping."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from attribution.projects import Edit, FixRecord
from dashboard.messages import escaped
from dashboard.tray import changed, decoded, encoded
from dashboard.views.accuracy import points, wilson_interval
from dashboard.views.fixes import (
    controls_sentence,
    harm_sentence,
    result_chip,
    steps_sentence,
    stop_sentence,
    verdict,
)
from dashboard.views.measurements import measurement_title, unit_words
from dashboard.views.mispredictions import filtered, neighbours, sorted_by

IDS = ["a", 'b"', "ü/3", "[x]"]
CLASSES = ["T-shirt/top", "0", 'he said "no"']

edits = st.lists(
    st.one_of(
        st.builds(Edit, train_id=st.sampled_from(IDS), action=st.just("upweight"), label=st.none()),
        st.builds(
            Edit, train_id=st.sampled_from(IDS), action=st.just("relabel"), label=st.sampled_from(CLASSES)
        ),
    ),
    unique_by=lambda edit: edit.train_id,
)


@given(edits)
def test_tray_survives_the_link(chosen: list[Edit]) -> None:
    assert decoded(encoded(chosen), IDS, CLASSES) == chosen


@given(st.text())
def test_any_text_is_some_tray(text: str) -> None:
    assert all(edit.train_id in IDS for edit in decoded(text, IDS, CLASSES))


def test_changing_an_edit_keeps_its_place() -> None:
    tray = [Edit(train_id="a", action="upweight"), Edit(train_id="[x]", action="upweight")]
    relabelled = changed(tray, "a", "relabel", "0")
    assert [(edit.train_id, edit.action) for edit in relabelled] == [("a", "relabel"), ("[x]", "upweight")]
    assert changed(relabelled, "a", None, None) == tray[1:]


@given(st.integers(0, 300), st.integers(0, 300))
def test_wilson_interval_is_scipys(successes: int, failures: int) -> None:
    trials = successes + failures
    if trials == 0:
        assert wilson_interval(0, 0) == (0.0, 1.0)
        return
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize(
    ("value", "words"), [(-0.07, "−7.0 pts"), (0.0, "±0.0 pts"), (0.00049, "±0.0 pts"), (0.012, "+1.2 pts")]
)
def test_points(value: float, words: str) -> None:
    assert points(value) == words


TABLE = pd.DataFrame(
    {
        "true": ["a", "a", "b"],
        "predicted": ["b", "c", "a"],
        "confidence": [0.5, 0.9, 0.7],
        "loss": [3.0, 2.0, 1.0],
    },
    index=["7", "1", "4"],
)


def test_a_filter_keeps_ids_not_positions() -> None:
    found = filtered(TABLE, None, true="b")
    assert list(found.index) == ["4"]
    assert list(sorted_by(TABLE, "confidence", descending=True).index) == ["1", "4", "7"]


def test_search_takes_text_literally() -> None:
    texts = pd.Series({"7": "good (really)", "1": "BAD", "4": "fine"})
    assert list(filtered(TABLE, texts, query="(real").index) == ["7"]
    assert list(filtered(TABLE, texts, query="bad").index) == ["1"]
    assert list(filtered(TABLE, texts, query="4").index) == ["4"], "an exact id is found too"


def test_neighbours_of_the_first_the_last_and_a_stranger() -> None:
    assert neighbours(TABLE, "7") == (0, None, "1")
    assert neighbours(TABLE, "4") == (2, "1", None)
    assert neighbours(TABLE, "99") == (None, None, "7")


@pytest.mark.parametrize(
    "text", ["*a*", "$x$", ":red[b]", "[l](http://x)", "<b>", "`c`", "# h", "a | b", "1. x"]
)
def test_escaping_leaves_nothing_to_markdown(text: str) -> None:
    shown = escaped(text)
    assert shown.replace("\\", "").replace("\N{WORD JOINER}", "") == text
    for position, character in enumerate(shown):
        if character in "*$[]<>`#|:":
            assert shown[position - 1] == "\\"


@pytest.mark.parametrize(
    ("method", "measurement", "unit"),
    [
        ("ekfac", "margin", ", in nats"),
        ("path", "logit:3", ", in nats"),
        ("ekfac", "loss", ""),
        ("ekfac", "mine.py:f", ""),
        ("grad_dot", "margin", ""),
    ],
)
def test_scores_have_a_unit_where_their_size_means_something(
    method: str, measurement: str, unit: str
) -> None:
    assert unit_words(method, measurement) == unit


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("margin", "margin"),
        ("logit:a:b", "logit of a:b"),
        ("/x/y.py:f", "f()"),
        ("effect-size", "effect-size"),
    ],
)
def test_measurements_have_short_titles(name: str, title: str) -> None:
    assert measurement_title(name) == title


def fix_with(
    steps: int | None, controls: list[int | None], interval: tuple[float, float] = (-0.01, 0.01)
) -> FixRecord:
    """A fix and its controls by the steps they took; None where nothing was fixed."""
    curve = [{"step": 0, "true": 0.1, "predicted_before": 0.9}]
    return FixRecord.model_validate(
        {
            "fix_id": "fix-1",
            "created": "2026-01-01T00:00:00+00:00",
            "project": "p",
            "test_id": "1",
            "true": "a",
            "strategy": "helpers",
            "method": "tracin",
            "measurement": "margin",
            "seed": 0,
            "device": "cpu",
            "edits": [{"train_id": "1", "action": "upweight"}, {"train_id": "2", "action": "upweight"}],
            "train_ids": ["1", "2"],
            "learning_rate": 0.1,
            "max_steps": 50,
            "before": {"predicted": "b", "probabilities": {"a": 0.1, "b": 0.9}},
            "after": {"predicted": "a", "probabilities": {"a": 0.9, "b": 0.1}},
            "fixed": steps is not None,
            "steps": steps or 50,
            "seconds": 1.0,
            "probability_per_step": curve,
            "accuracy_before": 0.9,
            "accuracy_after": 0.9 + sum(interval) / 2,
            "accuracy_interval": interval,
            "per_class": [],
            "newly_fixed": [],
            "newly_broken": [],
            "controls": [
                {
                    "name": f"c{number}",
                    "title": f"Control {number}",
                    "train_ids": [],
                    "fixed": taken is not None,
                    "steps": taken or 50,
                    "accuracy_after": 0.9,
                    "newly_fixed": 0,
                    "newly_broken": 0,
                    "probability_per_step": curve,
                }
                for number, taken in enumerate(controls)
            ],
        }
    )


@pytest.mark.parametrize(
    ("steps", "controls", "words"),
    [
        (3, [None, None], "None of the 2 controls fixed it: the chosen examples matter."),
        (3, [None, 2], "A control did as well, in no more steps and breaking no more (control 1):"),
        (3, [3, 9], "A control did as well, in no more steps and breaking no more (control 0):"),
        (3, [None, 9], "A control fixed it too, in more steps (control 1)"),
        (None, [None, 9], "Not fixed, though a control was (control 1)"),
        (None, [None, None], "Not fixed, and none of the 2 controls either"),
        (3, [], "No control was run"),
    ],
)
def test_fixed_is_said_beside_the_controls(steps: int | None, controls: list[int | None], words: str) -> None:
    assert controls_sentence(fix_with(steps, controls)).startswith(words)


def test_what_may_do_instead_is_said_once() -> None:
    fix = fix_with(None, [None, None])
    assert controls_sentence(fix).endswith("either: more steps or other examples may do.")
    for reason in ("stalled", "cap"):
        fix.stopped = reason
        assert stop_sentence(fix) is not None and controls_sentence(fix).endswith("controls either.")
    fix.stopped, fix.guard = "guard", 2
    assert controls_sentence(fix) == "Not fixed within the guard, and none of the 2 controls either."


def test_a_faster_control_that_breaks_more_speaks_for_the_chosen_examples() -> None:
    fix = fix_with(3, [2, 9])
    fix.newly_broken = ["5", "6"]
    fix.controls[0].newly_broken = 3
    assert controls_sentence(fix) == (
        "A control fixed it as fast or faster but broke more (control 0 3, against 2 here): "
        "the chosen examples do less harm."
    )


def test_a_control_that_could_take_no_step_says_why() -> None:
    fix = fix_with(3, [None, None])
    assert (
        verdict(fix, fix.controls[0]) == "Not fixed in 50 steps" and verdict(fix, fix) == "Fixed in 3 steps"
    )
    fix.controls[0].steps = 0
    assert verdict(fix, fix.controls[0]) == "Not fixed: its steps diverge"
    fix.strategy = "unlearn"
    assert verdict(fix, fix.controls[0]) == "Not fixed: no step to take"


def test_a_fix_is_never_called_a_retrain() -> None:
    assert steps_sentence(fix_with(1, [])) == "2 up-weighted training examples, after 1 step, not a retrain."
    assert result_chip(fix_with(3, [None, 2])) == "Fixed · controls 1 of 2"


def test_harm_is_said_where_chance_does_not_explain_it() -> None:
    assert harm_sentence(fix_with(3, [], (-0.02, 0.01))) is None
    assert str(harm_sentence(fix_with(3, [], (-0.09, -0.05)))).startswith(
        "Test accuracy falls by 7.0 points (95 % interval 5.0 to 9.0)"
    )
