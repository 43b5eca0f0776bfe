"""The page of a project that is not prepared says what a check of it found, beside the button that prepares it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.locations import PROJECTS_VARIABLE
from tests.app.drawn_pages import OpenPage, shown, until_shown
from tests.unit.built_projects import project_of
from tests.unit.test_checking import told_task


def test_a_fresh_project_shows_what_is_wrong_with_it(
    tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROJECTS_VARIABLE, str(tmp_path))
    project_of(tmp_path / "swapped", lambda: told_task((1, 0, 2).__getitem__))
    app = open_page("mispredictions", project="swapped")
    findings = until_shown(app, "findings")
    assert not app.exception and app.button(key="exit-prepare").label == "Prepare it now"
    rows = {row["name"]: row["cells"] for row in findings["rows"]}
    assert rows["label order"]["severity"]["text"] == "Problem"
    assert "'low' → 'middle' → 'low'" in rows["label order"]["found"]
    assert rows["sizes"] == {
        "severity": {"text": "OK", "tone": "helper"},
        "about": "sizes",
        "found": "240 training and 60 test examples of 3 classes.",
        "remedy": "",
    }
    assert any("to look at before preparing" in text.value for text in app.text)


def test_a_check_that_fails_says_why(
    tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROJECTS_VARIABLE, str(tmp_path))
    project = project_of(tmp_path / "broken", told_task)
    (project.directory / "task.py").write_text("def build():\n    raise RuntimeError('no such weights')\n")
    app = open_page("mispredictions", project="broken")
    assert not app.exception and shown(app, "findings") is None
    assert any("no such weights" in error.value for error in app.error)
    assert app.button(key="exit-prepare")
