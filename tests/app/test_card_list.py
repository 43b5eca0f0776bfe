"""The list of culprits and helpers: filter, order, groups, pins, notes and tags."""

from __future__ import annotations

from pathlib import Path

from attribution import Engine
from attribution.projects import Project
from tests.app.drawn_pages import OpenPage, shown, until_shown


def test_the_filter_lists_the_strongest_of_what_it_leaves(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    example = prepared_digits.mispredictions()[0]
    app = open_page("investigate", project="digits", example=example["id"])
    until_shown(app, "influence")
    app.selectbox(key="cards-label").select("8").run()
    data = shown(app, "influence")
    assert data is not None
    explanation = Engine(prepared_digits).explain(example["id"])
    labels = prepared_digits.predictions("train")["label"].to_numpy()
    expected = explanation.culprits(10, among=labels == prepared_digits.class_names.index("8"))
    assert {card["id"] for card in data["columns"][0]["cards"]} == {card["id"] for card in expected}
    app.text_input(key="cards-query").set_value("no such id").run()
    data = shown(app, "influence")
    assert data is not None and data["columns"][0]["cards"] == []
    assert "filter" in data["columns"][0]["empty"]
    app.button(key="clear-card-filter").click().run()
    data = shown(app, "influence")
    assert data is not None and len(data["columns"][0]["cards"]) == 10


def test_pinned_examples_stand_side_by_side(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    example = prepared_digits.mispredictions()[0]
    first, second = prepared_digits.predictions("train").index[[3, 7]]
    app = open_page("investigate", project="digits", example=example["id"], pins=f"{first},{second},nonsense")
    until_shown(app, "influence")
    for train_id in (first, second):
        pinned = shown(app, f"pinned-{train_id}")
        assert pinned is not None
        described = prepared_digits.example("train", train_id)
        assert (pinned["true"], pinned["predicted"]) == (described["true"], described["predicted"])
    assert any("alike to" in caption.value for caption in app.caption)
    app.button(key=f"unpin-{first}").click().run()
    assert app.query_params["pins"] in ([second], second)
    assert shown(app, f"pinned-{first}") is None and shown(app, f"pinned-{second}") is not None


def test_notes_and_tags_are_saved_and_filter(
    own_projects: Path, own_digits: Project, open_page: OpenPage
) -> None:
    example = own_digits.mispredictions()[0]["id"]
    hostile = "*a* <b>tag</b> :red[x]"
    app = open_page(
        "investigate", project="digits", example=example, pins=str(own_digits.predictions("train").index[3])
    )
    until_shown(app, "influence")
    train_id = str(own_digits.predictions("train").index[3])
    app.text_area(key=f"note-train-{train_id}-").set_value("A note").run()
    app.session_state[f"tags-train-{train_id}-"] = [hostile]
    app.run()
    app.button(key=f"save-train-{train_id}").click().run()
    stored = own_digits.history.annotations("train")[train_id]
    assert stored.note == "A note" and stored.tags == [" ".join(hostile.split())]
    app.selectbox(key="cards-tag").select(stored.tags[0]).run()
    data = shown(app, "influence")
    assert data is not None
    listed = [card["id"] for column in data["columns"] for card in column["cards"]]
    assert listed == [train_id]
