"""Maps on the pages: what is drawn around is ticked, listed and put in the tray by id."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from attribution import Engine
from attribution.errors import NumericalError
from attribution.projects import Project
from tests.app.drawn_pages import PATIENCE, OpenPage, shown
from tests.app.test_pages import calm


def figure_of(app: AppTest) -> dict[str, Any] | None:
    for node in app.get("plotly_chart"):
        document: dict[str, Any] = json.loads(node.proto.spec)
        return document
    return None


def until_drawn(app: AppTest) -> dict[str, Any]:
    """Draw the page again until the map is there."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = figure_of(app)
        if found is not None:
            return found
        app.run()
    raise AssertionError(f"no map within {PATIENCE} s; errors: {[e.value for e in app.error]}")


def drawn_ids(figure: dict[str, Any], *names: str) -> list[str]:
    return [
        one
        for trace in figure["data"]
        if trace.get("customdata") and (not names or trace["name"] in names)
        for one in trace["customdata"]
    ]


def test_the_map_shows_the_errors_that_the_filter_leaves(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    app = open_page("mispredictions", project="digits", show="map", true="9")
    figure = until_drawn(app)
    assert calm(app)
    assert shown(app, "mispredictions") is None
    wrong = [row["id"] for row in prepared_digits.mispredictions() if row["true"] == "9"]
    errors = [
        one
        for trace in figure["data"]
        if trace["name"] != "predicted right"
        for one in trace.get("customdata", [])
    ]
    assert sorted(errors) == sorted(wrong)
    table = prepared_digits.predictions("test")
    assert len(drawn_ids(figure, "predicted right")) == int((table["label"] == table["predicted"]).sum())
    watched = shown(app, "error-points")
    assert watched is not None and set(watched["pictures"]) == set(wrong)
    app.query_params["show"] = ""
    app.run()
    assert shown(app, "mispredictions") is not None


def test_clusters_are_listed_beside_the_map_that_they_colour(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    from attribution.error_clusters import error_clusters

    app = open_page("mispredictions", project="digits", show="map", colour="cluster")
    figure = until_drawn(app)
    expected = error_clusters(prepared_digits)
    data = shown(app, "clusters")
    assert data is not None
    assert [row["cells"]["name"] for row in data["rows"]] == [
        f"{number}. {cluster.name}" for number, cluster in enumerate(expected, start=1)
    ]
    first = f"1. {expected[0].name}"
    assert set(drawn_ids(figure, first)) == set(expected[0].test_ids)


@pytest.mark.parametrize("space", ["representation", "gradient"])
def test_the_training_map_lights_what_the_engine_says(
    space: str, projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    example_id = prepared_digits.mispredictions()[0]["id"]
    app = open_page("investigate", project="digits", example=example_id, show="map", space=space)
    deadline = time.monotonic() + PATIENCE
    while not drawn_ids(figure := until_drawn(app), "culprits"):
        assert time.monotonic() < deadline
        app.run()
    assert calm(app)
    explanation = Engine(prepared_digits).explain(example_id)
    assert drawn_ids(figure, "culprits") == [card["id"] for card in explanation.culprits(10)]
    assert drawn_ids(figure, "helpers") == [card["id"] for card in explanation.helpers(10)]
    everything = drawn_ids(figure)
    assert sorted(everything) == sorted(prepared_digits.predictions("train").index)


def test_what_was_drawn_around_goes_into_the_tray_in_one_step(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    example = prepared_digits.mispredictions()[0]
    app = open_page("investigate", project="digits", example=example["id"], show="map")
    until_drawn(app)
    train = prepared_digits.predictions("train")
    names = prepared_digits.class_names
    chosen = [str(train.index[position]) for position in (3, 700, 41)]
    app.session_state["picked on the map"] = (f"digits {example['id']}", [*chosen, "gone"])
    app.run()
    data = shown(app, "picked")
    assert data is not None and sorted(row["id"] for row in data["rows"]) == sorted(chosen)
    assert "3 training examples selected" in [heading.value for heading in app.subheader]
    relabelled = [one for one in chosen if names[int(train.loc[one, "label"])] != example["true"]]
    button = app.button(key="picked-relabel")
    assert button.label == f"Relabel {len(relabelled)} as {example['true']}"
    button.click().run()
    tray = shown(app, "tray-items")
    assert tray is not None
    assert {(i["id"], i["action"], i["label"]) for i in tray["items"]} == {
        (one, "relabel", example["true"]) for one in relabelled
    }
    app.button(key="tray-undo").click().run()
    assert shown(app, "tray-items") is None


def test_a_map_that_cannot_be_made_says_why_and_can_be_tried_again(
    own_projects: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(own_projects / "digits" / "prepared" / "maps", ignore_errors=True)

    def failing(*args: Any, **more: Any) -> None:
        raise NumericalError("It is <b>not</b> finite: try again.")

    with monkeypatch.context() as broken:
        broken.setattr(Engine, "map", failing)
        app = open_page("mispredictions", project="digits", show="map")
        deadline = time.monotonic() + PATIENCE
        while not app.error:
            assert time.monotonic() < deadline
            app.run()
    assert "not finite" in app.error[0].value.replace("\\", "").replace("<b>", "").replace("</b>", "")
    app.button(key="map-again").click().run()
    assert drawn_ids(until_drawn(app))
