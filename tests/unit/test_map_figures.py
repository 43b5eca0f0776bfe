"""Figures of maps: every point carries its id, what is lit is what was found, and words of the data stay inert."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from attribution.maps.example_map import ExampleMap
from dashboard.views.error_map import ErrorPoints, error_map, grouped
from dashboard.views.look import Look
from dashboard.views.map_figure import (
    OTHERS,
    SYMBOLS,
    drawn_around,
    groups_of,
    hover_words,
    marks,
    scatter_kind,
)
from dashboard.views.training_map import LARGEST, SMALLEST, LitExample, diameters, training_map

HOSTILE = "<b onclick=x>$a$ & %{x}</b>"
LIGHT, DARK = Look(dark=False), Look(dark=True)


def a_map(train: int, test: int) -> ExampleMap:
    random = np.random.default_rng(0)
    points = random.normal(size=(train + test, 2)).astype(np.float32)
    return ExampleMap("representation", "pca", points[:train], points[train:], np.array([0.3, 0.2]), train)


def traces(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


def some_errors(groups: list[str]) -> ErrorPoints:
    """Six test examples, the last three predicted wrong, of two classes."""
    errors = pd.DataFrame(
        {
            "true": [HOSTILE, "a", "a"],
            "predicted": ["a", HOSTILE, HOSTILE],
            "confidence": 0.5,
            "loss": [3.0, 2.0, 1.0],
        },
        index=["t5", "t3", "t4"],
    )
    ids = [f"t{number}" for number in range(6)]
    return ErrorPoints(
        errors=errors,
        positions=np.array([5, 3, 4]),
        context=np.array([0, 1, 2]),
        ids=ids,
        labels=np.array([0, 1, 0, 0, 0, 1]),
        groups=groups,
        texts=pd.Series(dict.fromkeys(ids, HOSTILE)),
    )


@pytest.mark.parametrize("look", [LIGHT, DARK])
def test_errors_stand_at_their_places_with_their_ids(look: Look) -> None:
    found = a_map(4, 6)
    points = some_errors([HOSTILE, "a", "a"])
    figure = error_map(found, points, ["a", HOSTILE], ticked=["t4", "gone"], look=look)
    by_name = traces(figure)
    right = by_name["predicted right"]
    assert list(right.customdata) == ["t0", "t1", "t2"]
    assert list(by_name["a"].customdata) == ["t3", "t4"]
    np.testing.assert_array_equal(by_name["a"].x, found.test[[3, 4], 0])
    np.testing.assert_array_equal(by_name["a"].y, found.test[[3, 4], 1])
    np.testing.assert_array_equal(by_name["ticked"].x, found.test[[4], 0])
    assert by_name["ticked"].customdata is None, "a ring is no second point of the same id"
    others = ("classes", "ticked", "predicted right")
    symbols = [trace.marker.symbol for name, trace in by_name.items() if name not in others]
    assert sorted(symbols) == ["circle", "square"] and figure.layout.dragmode == "select"


def test_words_of_the_data_are_inert_in_every_label() -> None:
    figure = error_map(a_map(4, 6), some_errors([HOSTILE] * 3), ["a", HOSTILE], ticked=[], look=LIGHT)
    words = [str(trace.name) for trace in figure.data]
    words += [str(text) for trace in figure.data for text in (trace.hovertext if trace.hovertext else [])]
    words += list(traces(figure)["classes"].text)
    assert not any("<b onclick" in text for text in words)
    assert any("&lt;b onclick" in text for text in words)
    # What is in a hover label does not pass through a template, where %{x} would mean something.
    templates = {trace.hovertemplate for trace in figure.data if trace.hovertemplate}
    assert templates == {"%{hovertext}<extra></extra>"}
    long = hover_words("id", text="word " * 2000)
    assert len(long) < 300 and long.endswith("…")


def test_test_examples_without_a_place_are_left_out() -> None:
    found = a_map(4, 6)
    found.test[[0, 3]] = np.nan
    by_name = traces(error_map(found, some_errors(["a"] * 3), ["a", "b"], ticked=["t3"], look=LIGHT))
    assert list(by_name["predicted right"].customdata) == ["t1", "t2"]
    assert list(by_name["a"].customdata) == ["t5", "t4"]
    assert "ticked" not in by_name


def test_at_most_seven_groups_have_a_colour_the_commonest_first() -> None:
    names = [f"class {number}" for number in range(9) for _ in range(20 - number)]
    groups = groups_of(names)
    own = [name for name, group in groups.items() if group != OTHERS]
    assert own == [f"class {number}" for number in range(6)]
    assert groups["class 8"] == OTHERS
    found = marks([*own, OTHERS], LIGHT)
    assert len({colour for colour, _ in found.values()}) == len({symbol for _, symbol in found.values()}) == 7
    assert groups_of(["a", OTHERS, OTHERS]) == {"a": "a", OTHERS: OTHERS}
    seven = [str(number) for number in range(len(SYMBOLS))]
    assert OTHERS not in [groups_of(seven)[name] for name in seven]


def test_errors_are_coloured_by_class_or_cluster() -> None:
    errors = some_errors(["a"] * 3).errors
    assert grouped(errors, "true", {}) == [HOSTILE, "a", "a"]
    assert grouped(errors, "predicted", {}) == ["a", HOSTILE, HOSTILE]
    assert grouped(errors, "cluster", {"t3": "1. c"}) == [OTHERS, "1. c", OTHERS]


def test_the_influential_are_lit_sized_and_tied_to_the_test_example() -> None:
    found = a_map(30, 3)
    lit = [
        LitExample("e7", 7, 0.8, "a", True, HOSTILE),
        LitExample("e2", 2, 0.2, "a", False),
        LitExample("e9", 9, -0.4, HOSTILE, False),
    ]
    figure = training_map(
        found,
        ids=[f"e{number}" for number in range(30)],
        labels=np.arange(30) % 2,
        class_names=["a", HOSTILE],
        shown=np.arange(0, 30, 2),
        lit=lit,
        queries=[("t1", 1)],
        chosen=[9],
        look=DARK,
    )
    by_name = traces(figure)
    assert list(by_name["culprits"].customdata) == ["e7", "e2"]
    assert list(by_name["helpers"].customdata) == ["e9"]
    assert (by_name["culprits"].marker.symbol, by_name["helpers"].marker.symbol) == (
        "triangle-up",
        "triangle-down",
    )
    areas = np.square(by_name["culprits"].marker.size)
    np.testing.assert_allclose(areas[0] / areas[1], 0.8 / 0.2)
    faint = list(by_name["training data"].customdata)
    assert "e2" not in faint and len(faint) == 14, "a lit example is not drawn faintly too"
    ties = by_name["the strongest culprits"]
    np.testing.assert_allclose(ties.x[0], found.test[1, 0])
    np.testing.assert_allclose([ties.x[1], ties.y[4]], [found.train[7, 0], found.train[2, 1]])
    np.testing.assert_array_equal(by_name["in the fix tray"].y, found.train[[9], 1])
    np.testing.assert_array_equal(by_name["test example"].x, found.test[[1], 0])
    assert "suspected label error" in by_name["culprits"].hovertext[0]
    assert not any("<b onclick" in text for text in by_name["helpers"].hovertext)


def test_a_test_example_without_a_place_has_no_star_and_no_ties() -> None:
    found = a_map(10, 2)
    found.test[1] = np.nan
    figure = training_map(
        found,
        ids=[str(number) for number in range(10)],
        labels=np.zeros(10, dtype=int),
        class_names=["a"],
        shown=np.arange(10),
        lit=[LitExample("3", 3, 0.1, "a", False)],
        queries=[("t1", 1)],
        chosen=[],
        look=LIGHT,
    )
    assert {trace.name for trace in figure.data} == {"training data", "classes", "culprits"}


def test_marks_are_never_too_small_to_hit() -> None:
    found = diameters(np.array([1.0, -0.25, 1e-9]), 1.0)
    np.testing.assert_allclose(found, [LARGEST, LARGEST / 2, SMALLEST])


def test_large_figures_take_webgl_where_there_is_any() -> None:
    assert scatter_kind(2000, LIGHT).__name__ == "Scatter"
    assert scatter_kind(2001, LIGHT).__name__ == "Scattergl"
    assert scatter_kind(9000, Look(dark=False, webgl=False)).__name__ == "Scatter"


@pytest.mark.parametrize("sent", ["t1", ["t1"], {"0": "t1"}])
def test_ids_are_read_in_every_form_that_browsers_send(sent: Any) -> None:
    points = [{"customdata": sent}, {"customdata": sent}, {"customdata": None}, {}, {"customdata": 7}]
    assert drawn_around({"selection": {"points": points, "box": [{}], "lasso": []}}) == ["t1"]
    assert drawn_around(None) == drawn_around({}) == drawn_around({"selection": {"points": []}}) == []


def test_of_large_figures_nothing_lies_beneath_the_faint_points() -> None:
    """WebGL's canvas covers plotly's other traces: what is lit goes into it, class names above it."""
    count = 2500
    figure = training_map(
        a_map(count, 1),
        ids=[str(number) for number in range(count)],
        labels=np.zeros(count, dtype=int),
        class_names=[HOSTILE],
        shown=np.arange(count),
        lit=[LitExample("3", 3, 0.1, "a", False)],
        queries=[("t0", 0)],
        chosen=[3],
        look=LIGHT,
    )
    assert {trace.type for trace in figure.data if trace.mode == "markers"} == {"scattergl"}
    (name,) = figure.layout.annotations
    assert name.text.startswith("<b>&lt;b onclick")
