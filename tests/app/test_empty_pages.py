"""A page that has nothing to show says so, and leads on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attribution.projects import Project
from dashboard.state import PAGES
from tests.app.drawn_pages import OpenPage

OF_A_PROJECT = [page for page in PAGES if page not in ("projects", "open")]


def said(app: object) -> str:
    """All that the page says in messages."""
    return " ".join(
        f"{message.proto.title} {message.value}"
        for kind in ("info", "success", "warning", "error")
        for message in getattr(app, kind)
    )


@pytest.mark.parametrize("page", OF_A_PROJECT)
def test_without_a_project(projects: Path, open_page: OpenPage, page: str) -> None:
    app = open_page(page)
    assert not app.exception and "No project is open" in said(app)
    assert app.button(key="exit-no-project").label == "Choose a project"


def test_with_nothing_chosen_or_kept_yet(own_projects: Path, open_page: OpenPage) -> None:
    for page, words, way_on in (
        ("investigate", "Choose a misprediction first", "exit-no-example"),
        ("group", "Choose several mispredictions first", "exit-no-examples"),
        ("compare", "Choose a misprediction first", "exit-no-example"),
        ("preview", "Nothing is previewed yet", "exit-no-fix"),
        ("history", "No fix is kept yet", "exit-empty"),
        ("compare_fixes", "Choose Compare on two fixes", "exit-fixes"),
    ):
        app = open_page(page, project="digits")
        assert not app.exception and not app.error and words in said(app), page
        assert app.button(key=way_on).disabled is False


def test_without_mispredictions(own_digits: Project, own_projects: Path, open_page: OpenPage) -> None:
    file = own_digits.prepared_directory / "test_predictions.parquet"
    table = own_digits.predictions("test").copy()
    table["predicted"] = table["label"]
    table.to_parquet(file)
    record = own_digits.prepared_directory / "prepared.json"
    said_of_it = json.loads(record.read_text())
    said_of_it["files"][file.name] = file.stat().st_size
    record.write_text(json.dumps(said_of_it))
    app = open_page("mispredictions", project="digits")
    assert not app.exception and not app.error and "nothing to trace here" in said(app)
    assert app.button(key="exit-none").label == "All projects"
