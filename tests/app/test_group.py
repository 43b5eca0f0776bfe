"""Several mispredictions as one: from the filter to what they have in common, to a fix for all, kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from attribution import Engine
from attribution.error_clusters import error_clusters
from attribution.projects import Project
from dashboard.current import MOST_TOGETHER
from dashboard.state import listed, unlisted
from tests.app.drawn_pages import OpenPage, shown, until_shown
from tests.app.test_pages import calm


@pytest.fixture
def nines(prepared_digits: Project) -> list[str]:
    """Nines that are taken for eights."""
    wrong = prepared_digits.mispredictions()
    return [row["id"] for row in wrong if (row["true"], row["predicted"]) == ("9", "8")]


@pytest.fixture
def together(projects: Path, nines: list[str], open_page: OpenPage) -> Callable[[], AppTest]:
    """The page of the nines together, as the filter's button opens it."""

    def opened() -> AppTest:
        app = open_page("mispredictions", project="digits", true="9", predicted="8")
        assert app.button(key="together").label == f"Fix these {len(nines)} together"
        app.button(key="together").click().run()
        # AppTest draws the page it was told last again, not the one that the script went on to.
        app.switch_page("app_pages/group.py")
        until_shown(app, "influence")
        return app

    return opened


def test_a_cell_of_the_matrix_is_explained_together(
    together: Callable[[], AppTest], prepared_digits: Project, nines: list[str]
) -> None:
    app = together()
    assert calm(app)
    assert unlisted(app.query_params["examples"]) == nines
    mistakes = shown(app, "mistakes")
    assert mistakes is not None and [card["id"] for card in mistakes["cards"]] == nines
    assert all(
        (card["true"], card["predicted"], card["now"]) == ("9", "8", None) for card in mistakes["cards"]
    )
    data = shown(app, "influence")
    assert data is not None
    expected = Engine(prepared_digits).explain_group(nines)
    for column, cards in zip(data["columns"], (expected.culprits(10), expected.helpers(10)), strict=True):
        assert [card["id"] for card in column["cards"]] == [card["id"] for card in cards]
        assert [card["explains"] for card in column["cards"]] == [
            f"explains {c['explains']} of 4" for c in cards
        ]
    assert [column["title"] for column in data["columns"]] == ["Common culprits", "Common helpers"]


def test_a_group_is_fixed_shown_one_by_one_and_kept(
    together: Callable[[], AppTest], prepared_digits: Project, nines: list[str], open_page: OpenPage
) -> None:
    app = together()
    app.button(key="suggest-preview").click().run()
    app.switch_page("app_pages/preview.py")
    targets = until_shown(app, "targets-pair")
    assert calm(app)
    fix = prepared_digits.history.get(app.query_params["fix"])
    assert fix.test_ids == nines
    assert [(card["id"], card["now"]) for card in targets["cards"]] == [
        (target.test_id, target.after.predicted) for target in fix.targets
    ]
    assert f"{fix.fixed_count} of 4 fixed" in [heading.value for heading in app.subheader]
    comparison = shown(app, "comparison")
    assert comparison is not None
    assert comparison["rows"][0]["cells"]["result"]["text"].startswith(f"{fix.fixed_count} of 4 fixed in")
    assert shown(app, "belief-pair") is None
    tray = shown(app, "tray-items")
    assert tray is not None and [item["id"] for item in tray["items"]] == fix.train_ids
    app.button(key="keep").click().run()
    assert calm(app) and fix.fix_id in {kept.fix_id for kept in prepared_digits.history.list()}
    again = open_page("preview", project="digits", fix=fix.fix_id)
    assert calm(again) and shown(again, "targets-pair") == targets
    rows = shown(open_page("history", project="digits"), "history")
    assert rows is not None
    (row,) = [row for row in rows["rows"] if row["id"] == fix.fix_id]
    assert row["name"] == "Fix of 4 test examples" and row["cells"]["recipe"].startswith("4 together")
    assert row["cells"]["result"]["text"].startswith(f"{fix.fixed_count} of 4 fixed · controls")


def test_discard_goes_back_to_the_group(together: Callable[[], AppTest], nines: list[str]) -> None:
    app = together()
    app.button(key="suggest-preview").click().run()
    app.switch_page("app_pages/preview.py")
    until_shown(app, "targets-pair")
    assert app.button(key="back").label == "Back to the examples"
    app.button(key="discard").click().run()
    assert calm(app)
    assert unlisted(app.query_params["examples"]) == nines


def test_ticked_rows_come_before_the_filter(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    ids = [row["id"] for row in prepared_digits.mispredictions()]
    app = open_page("mispredictions", project="digits", ticked=listed([ids[3], "nobody", ids[0]]), q=ids[0])
    assert calm(app)
    assert app.button(key="together").label == "Fix these 2 together"
    data = shown(app, "mispredictions")
    assert data is not None and [row["cells"]["ticked"] for row in data["rows"]] == [True]
    app.button(key="untick").click().run()
    assert "ticked" not in app.query_params and app.button(key="together").disabled, (
        "one alone is a click on its row"
    )
    app.button(key="clear-filter").click().run()
    assert "together" not in [button.key for button in app.button]


def test_a_cluster_filters_and_is_named(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    cluster = error_clusters(prepared_digits)[0]
    app = open_page("mispredictions", project="digits")
    app.selectbox(key="cluster").select(cluster.test_ids[0]).run()
    assert calm(app)
    data = shown(app, "mispredictions")
    assert data is not None and [row["id"] for row in data["rows"]] == cluster.test_ids
    assert any(f"cluster {cluster.name}" in text.value for text in app.text)
    assert f"cluster={cluster.test_ids[0]}" in data["rows"][0]["href"]
    alone = open_page(
        "investigate", project="digits", example=cluster.test_ids[0], cluster=cluster.test_ids[0]
    )
    alone.button(key="next").click().run()
    assert alone.query_params["example"] == cluster.test_ids[1]
    unknown = open_page("mispredictions", project="digits", cluster="nothing")
    everything = shown(unknown, "mispredictions")
    assert calm(unknown) and everything is not None
    assert len(everything["rows"]) == len(prepared_digits.mispredictions())


def test_a_link_to_a_group_says_what_it_leaves_out(
    projects: Path, prepared_digits: Project, open_page: OpenPage, nines: list[str]
) -> None:
    table = prepared_digits.predictions("test")
    right = str(table.index[table["label"] == table["predicted"]][0])
    app = open_page("group", project="digits", examples=listed([*nines, right, "nobody"]))
    until_shown(app, "influence")
    assert [warning.value.replace("\\", "") for warning in app.warning] == [
        "1 of the examples is not in this project and left out.",
        "1 of the examples is predicted right and left out.",
    ]
    mistakes = shown(app, "mistakes")
    assert mistakes is not None and [card["id"] for card in mistakes["cards"]] == nines
    nothing = open_page("group", project="digits", examples='"')
    assert calm(nothing) and nothing.button(key="exit-no-examples")


def test_too_many_are_refused_with_a_sentence(
    projects: Path, prepared_digits: Project, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [row["id"] for row in prepared_digits.mispredictions()]
    assert MOST_TOGETHER == 50
    monkeypatch.setattr("dashboard.current.MOST_TOGETHER", 5)
    app = open_page("mispredictions", project="digits", ticked=listed(ids[:6]))
    assert app.button(key="together").disabled
    assert any(caption.value.startswith("At most 5 at once") for caption in app.caption)
    group = open_page("group", project="digits", examples=listed(ids[:6]))
    until_shown(group, "influence")
    assert "At most 5 can be fixed together" in group.warning[0].value
    mistakes = shown(group, "mistakes")
    assert mistakes is not None and [card["id"] for card in mistakes["cards"]] == ids[:5]


def test_one_alone_can_stay_on_the_page(projects: Path, open_page: OpenPage, nines: list[str]) -> None:
    app = open_page("group", project="digits", examples=nines[0])
    data = until_shown(app, "influence")
    assert calm(app) and data["columns"][0]["title"] == "Culprits"
    mistakes = shown(app, "mistakes")
    assert mistakes is not None and mistakes["removable"] is False
