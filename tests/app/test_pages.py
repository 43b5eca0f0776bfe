"""Every page draws what the project holds, and its links and filters mean what they say."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from attribution import Engine
from attribution.projects import Project
from dashboard.cards import cards
from dashboard.views.card_filter import grouped
from tests.app.drawn_pages import PATIENCE, OpenPage, shown, until_shown


def calm(app: AppTest) -> bool:
    """Nothing failed: no exception element, no error message."""
    return not app.exception and not app.error


def test_projects_lists_samples_with_their_state(projects: Path, open_page: OpenPage) -> None:
    app = open_page("projects")
    assert calm(app)
    assert app.button(key="open-digits").label == "Open"
    assert app.button(key="prepare-fashion").label == "Prepare and open"
    assert "tracefix new" in app.code[0].value


def test_mispredictions_are_those_of_the_project(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    app = open_page("mispredictions", project="digits")
    assert calm(app)
    data = shown(app, "mispredictions")
    assert data is not None
    expected = prepared_digits.mispredictions()
    assert [row["id"] for row in data["rows"]] == [example["id"] for example in expected][:50]
    assert data["rows"][0]["cells"]["classes"] == {
        "from": expected[0]["true"],
        "to": expected[0]["predicted"],
    }
    assert [metric.value for metric in app.metric][1] == str(len(expected))
    matrix = shown(app, "confusion")
    assert matrix is not None
    assert sum(map(sum, matrix["counts"])) == len(prepared_digits.predictions("test"))


def test_filter_and_order_come_from_the_link(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    expected = prepared_digits.mispredictions()
    true, predicted = expected[3]["true"], expected[3]["predicted"]
    app = open_page("mispredictions", project="digits", true=true, predicted=predicted, sort="confidence")
    assert calm(app)
    data = shown(app, "mispredictions")
    assert data is not None
    wanted = [e for e in expected if (e["true"], e["predicted"]) == (true, predicted)]
    wanted.sort(key=lambda example: -example["confidence"])
    assert [row["id"] for row in data["rows"]] == [example["id"] for example in wanted]
    assert f"true={true}" in data["rows"][0]["href"], "Investigate must stay within the filter"


def test_search_finds_an_id(projects: Path, prepared_digits: Project, open_page: OpenPage) -> None:
    wanted = prepared_digits.mispredictions()[5]["id"]
    app = open_page("mispredictions", project="digits")
    app.text_input(key="search").set_value(wanted).run()
    data = shown(app, "mispredictions")
    assert data is not None
    assert [row["id"] for row in data["rows"]] == [wanted]
    assert app.query_params["q"] == wanted
    app.text_input(key="search").set_value("no such id").run()
    assert shown(app, "mispredictions") is None
    assert "No misprediction matches" in app.info[0].value


def test_investigate_shows_what_the_engine_says(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    example = prepared_digits.mispredictions()[0]
    app = open_page("investigate", project="digits", example=example["id"])
    data = until_shown(app, "influence")
    assert calm(app)
    explanation = Engine(prepared_digits).explain(example["id"])
    culprits, helpers = data["columns"]
    names = prepared_digits.class_names
    for column, listed in ((culprits, explanation.culprits(10)), (helpers, explanation.helpers(10))):
        # Strongest first, and what is alike beside its strongest.
        assert [card["id"] for card in column["cards"]] == [card.id for card in grouped(cards(listed, names))]
    app.toggle(key="cards-group").set_value(False).run()
    plain = shown(app, "influence")
    assert plain is not None
    assert [card["id"] for card in plain["columns"][0]["cards"]] == [
        c["id"] for c in explanation.culprits(10)
    ]
    assert all(card["score"] > 0 for card in culprits["cards"])
    assert all(card["score"] < 0 for card in helpers["cards"])
    assert data["reveal"] is False, "planted errors are hidden until somebody asks"
    beliefs = shown(app, "belief")
    assert beliefs is not None
    assert beliefs["predicted"] == example["predicted"]


def test_compare_puts_the_methods_of_the_link_side_by_side(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    example = prepared_digits.mispredictions()[0]
    app = open_page("compare", project="digits", example=example["id"], methods="ekfac,grad_dot,nonsense")
    data = until_shown(app, "compared")
    assert calm(app)
    engine = Engine(prepared_digits)
    assert [column["title"] for column in data["columns"]] == [
        "Influence function (EK-FAC)",
        "Gradient dot product",
    ]
    for column, method in zip(data["columns"], ("ekfac", "grad_dot"), strict=True):
        expected = engine.explain(example["id"], method=method).culprits(5)
        assert [card["id"] for card in column["cards"]] == [card["id"] for card in expected]
        assert column["largest"] == max(card["score"] for card in column["cards"])


def test_reveal_marks_the_planted_errors(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    example_id = prepared_digits.mispredictions()[0]["id"]
    app = open_page("investigate", project="digits", example=example_id)
    until_shown(app, "influence")
    app.toggle(key="reveal").set_value(True).run()
    data = until_shown(app, "influence")
    assert data["reveal"] is True
    train = prepared_digits.examples("train")
    names = prepared_digits.class_names
    for card in data["columns"][0]["cards"]:
        row = train.loc[card["id"]]
        really = names[int(row["original_label"])]
        assert card["planted"] == (really if really != card["label"] else None)


@pytest.mark.parametrize(
    ("measurement", "words"), [("loss", "raised the loss"), ("logit:3", "the logit of “3”")]
)
def test_measurement_in_the_link(
    measurement: str, words: str, projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    example_id = prepared_digits.mispredictions()[0]["id"]
    app = open_page("investigate", project="digits", example=example_id, measurement=measurement)
    data = until_shown(app, "influence")
    assert calm(app)
    assert words in data["columns"][0]["subtitle"]


def test_a_right_prediction_can_be_investigated_but_not_fixed(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    table = prepared_digits.predictions("test")
    example_id = str(table.index[table["label"] == table["predicted"]][0])
    app = open_page("investigate", project="digits", example=example_id)
    until_shown(app, "influence")
    assert calm(app)
    assert app.button(key="suggest-preview").disabled


def test_next_stays_within_the_filter(projects: Path, prepared_digits: Project, open_page: OpenPage) -> None:
    expected = prepared_digits.mispredictions()
    pairs = [(e["true"], e["predicted"]) for e in expected]
    pair = max(set(pairs), key=pairs.count)
    within = [e["id"] for e, found in zip(expected, pairs, strict=True) if found == pair]
    app = open_page("investigate", project="digits", example=within[0], true=pair[0], predicted=pair[1])
    app.button(key="next").click().run()
    assert app.query_params["example"] == within[1]
    assert app.query_params["true"] == pair[0]
    assert app.button(key="previous").disabled is False


def test_the_tray_is_in_the_link_and_can_be_undone(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    example_id = prepared_digits.mispredictions()[0]["id"]
    train_id = str(prepared_digits.examples("train").index[7])
    app = open_page(
        "investigate", project="digits", example=example_id, tray=f'[["{train_id}","r","3"],["nobody","u"]]'
    )
    tray = shown(app, "tray-items")
    assert tray is not None
    assert [(item["id"], item["action"], item["label"]) for item in tray["items"]] == [
        (train_id, "relabel", "3")
    ]
    assert app.button(key="tray-undo").disabled


@pytest.fixture
def previewed(projects: Path, prepared_digits: Project, open_page: OpenPage) -> Callable[[], AppTest]:
    """A page that shows a finished preview."""

    def preview() -> AppTest:
        app = open_page("investigate", project="digits", example=prepared_digits.mispredictions()[1]["id"])
        app.button(key="suggest-preview").click().run()
        # AppTest draws the page it was told last again, not the one that the script went on to.
        app.switch_page("app_pages/preview.py")
        until_shown(app, "comparison")
        return app

    return preview


def test_preview_puts_the_fix_beside_its_controls(
    previewed: Callable[[], AppTest], prepared_digits: Project
) -> None:
    app = previewed()
    fix = prepared_digits.history.get(app.query_params["fix"])
    assert calm(app)
    comparison = shown(app, "comparison")
    assert comparison is not None
    assert comparison["rows"][0]["cells"]["what"] == "This fix"
    assert len(comparison["rows"]) == 3
    sentence = app.markdown[0].value
    assert "not a retrain" in sentence
    tray = shown(app, "tray-items")
    assert tray is not None
    assert [item["id"] for item in tray["items"]] == fix.train_ids, "the suggestion fills the empty tray"
    assert fix.suggestion, "with nothing in the tray, sets are tried"
    reasons = next(block.value for block in app.markdown if block.value.startswith("- "))
    assert reasons.count("\n") == len(fix.suggestion) - 1


@pytest.mark.parametrize(("recorded", "words"), [("7", "7"), (None, "another class")])
def test_what_a_fix_broke_is_shown_with_the_class_it_became(
    recorded: str | None,
    words: str,
    previewed: Callable[[], AppTest],
    prepared_digits: Project,
    open_page: OpenPage,
) -> None:
    table = prepared_digits.predictions("test")
    names = prepared_digits.class_names
    right = table.index[(table["label"] == table["predicted"]) & (table["label"] == names.index("1"))][0]
    fix = prepared_digits.history.get(previewed().query_params["fix"])
    changes = {
        "fix_id": "fix-broken",
        "newly_broken": [right],
        "newly_broken_as": {} if recorded is None else {right: recorded},
    }
    prepared_digits.history.save(fix.model_copy(update=changes), state="preview")
    app = open_page("preview", project="digits", fix="fix-broken")
    assert calm(app)
    data = shown(app, "side-broken")
    assert data is not None
    change = data["rows"][0]["cells"]["change"]
    assert (data["rows"][0]["id"], change["from"], change["to"]) == (right, "1", words)
    assert change["tones"] == ["helper", "culprit"]


def test_keep_puts_the_fix_into_history(
    previewed: Callable[[], AppTest], prepared_digits: Project, open_page: OpenPage
) -> None:
    app = previewed()
    fix_id = app.query_params["fix"]
    assert fix_id not in {fix.fix_id for fix in prepared_digits.history.list()}
    app.button(key="keep").click().run()
    assert calm(app)
    assert fix_id in {fix.fix_id for fix in prepared_digits.history.list()}
    history = open_page("history", project="digits")
    rows = shown(history, "history")
    assert rows is not None
    assert fix_id in [row["id"] for row in rows["rows"]]
    assert "controls" in rows["rows"][0]["cells"]["result"]["text"], "fixed is said only beside the controls"


def test_discard_goes_back_with_the_same_tray(
    previewed: Callable[[], AppTest], prepared_digits: Project
) -> None:
    app = previewed()
    fix_id = app.query_params["fix"]
    chosen = prepared_digits.history.get(fix_id).train_ids
    app.button(key="discard").click().run()
    assert calm(app)
    assert fix_id not in {fix.fix_id for fix in prepared_digits.history.list()}
    tray = shown(app, "tray-items")
    assert tray is not None
    assert [item["id"] for item in tray["items"]] == chosen


def test_a_preview_can_be_opened_by_its_link(previewed: Callable[[], AppTest], open_page: OpenPage) -> None:
    fix_id = previewed().query_params["fix"]
    app = open_page("preview", project="digits", fix=fix_id)
    assert calm(app)
    assert shown(app, "comparison") is not None


def test_report_and_export_are_made_in_the_background(previewed: Callable[[], AppTest]) -> None:
    app = previewed()
    for made, kind in enumerate(("report", "export"), start=1):
        app.button(key=f"make-{kind}").click().run()
        deadline = time.monotonic() + PATIENCE
        while sum(b.label.startswith("Download") for b in app.get("download_button")) < made:
            assert time.monotonic() < deadline, [error.value for error in app.error]
            app.run()
    labels = [b.label for b in app.get("download_button") if b.label.startswith("Download")]
    assert [label.split(" (")[0] for label in labels] == ["Download report", "Download export"]
