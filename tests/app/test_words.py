"""Pure parts of the pages: the tray in a link, filters, intervals, sentences, escaping."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from attribution.projects import Edit
from dashboard.messages import escaped
from dashboard.tray import changed, decoded, encoded
from dashboard.views.accuracy import points, wilson_interval
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
