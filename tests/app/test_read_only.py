"""A read-only dashboard: whatever is pressed on whatever page, the project's folder stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from attribution.projects import Edit, Project
from attribution.projects.access import ReadOnlyError, set_rule
from dashboard import explaining, permission, preparing, verify_panel
from dashboard.current import Opened, stamp_of
from dashboard.explaining import Question
from tests.app.drawn_pages import OpenPage, shown, until_shown
from tests.directory_contents import contents
from tests.unit.fix_records import record

ANSWERING = ("method-", "measurement-")
"""Further explanations, which take their time; one that needs something written is among the tests of the rule."""

LEAVING = ("exit-", "to-", "open-", "next", "previous", "back", "log-out")


@pytest.fixture
def project(own_digits: Project, own_projects: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Digits with a kept fix and a preview, then read-only."""
    example = own_digits.mispredictions()[0]
    edits = [Edit(train_id=str(own_digits.examples("train").index[0]), action="upweight")]
    fix = record("fix-kept").model_copy(update={"test_id": example["id"], "edits": edits})
    own_digits.history.save(fix)
    own_digits.history.save(fix.model_copy(update={"fix_id": "fix-preview"}), state="preview")
    (own_digits.directory / "strange.py").write_text("def build(logits): raise SystemExit\n")
    monkeypatch.setenv(permission.READ_ONLY_VARIABLE, "1")
    yield own_digits
    set_rule(None)


def pressed(app: AppTest) -> list[str]:
    """Press every button of a page that does not only lead elsewhere, disabled ones too, as a client of somebody's own
    making could; their keys."""
    keys = [
        str(button.key) for button in app.button if not str(button.key).startswith((*LEAVING, *ANSWERING))
    ]
    for key in keys:
        found = [button for button in app.button if button.key == key]
        if found:
            found[0].proto.disabled = False
            found[0].click().run()
            assert not app.exception, key
    return keys


def test_no_button_changes_anything(project: Project, open_page: OpenPage) -> None:
    before = contents(project.directory.parent)
    example = project.mispredictions()[0]["id"]
    keys: set[str] = set()
    until_shown(open_page("investigate", project="digits", example=example), "influence")
    for page, parameters in {
        "projects": {},
        "open": {},
        "mispredictions": {},
        "investigate": {"example": example, "measurement": "strange.py:build"},
        "preview": {"fix": "fix-preview"},
        "history": {},
        "trust": {},
    }.items():
        app = open_page(
            page, **({"project": "digits"} if page not in ("projects", "open") else {}), **parameters
        )
        assert not app.exception
        keys |= set(pressed(app))
    assert {"suggest-preview", "prepare-fashion", "run-function"} <= keys, "they are there, and do nothing"
    assert not {"keep", "discard", "verify", "make-export", "study-lds"} & keys
    assert contents(project.directory.parent) == before


def test_a_fix_can_be_looked_at_and_reported(project: Project, open_page: OpenPage) -> None:
    app = open_page("preview", project="digits", fix="fix-kept")
    assert shown(app, "comparison") is not None and not app.error
    assert app.button(key="make-report").disabled is False
    rows = shown(open_page("history", project="digits"), "history")
    assert rows is not None
    assert [action["name"] for action in rows["rows"][0]["cells"]["actions"]] == [
        "story",
        "compare",
        "report",
    ]


def test_explanations_are_for_everybody(project: Project, open_page: OpenPage) -> None:
    before = contents(project.directory)
    app = open_page("investigate", project="digits", example=project.mispredictions()[0]["id"])
    until_shown(app, "influence")
    assert app.button(key="suggest-preview").disabled
    assert contents(project.directory) == before


def test_what_buttons_start_is_refused_below_them(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if somebody had made a button work: the functions beneath ask for themselves."""
    permission.enforce()
    before = contents(project.directory)
    opened = Opened("digits", project, str(stamp_of(project.directory)))
    question = Question(project.mispredictions()[0]["id"], "ekfac", "margin")
    settings: Any = explaining.FixSettings()
    said: list[str] = []
    monkeypatch.setattr("streamlit.toast", lambda sentence, **_: said.append(sentence))
    verify_panel.start_verification(opened, "fix-kept")
    preparing.prepare_and_follow("fashion", "Fashion")
    with pytest.raises(ReadOnlyError, match="preview a fix"):
        explaining.start_fix(opened, question, [], settings, "")
    with pytest.raises(ReadOnlyError, match="change the history"):
        project.history.keep("fix-preview")
    assert len(said) == 2 and all("read" in sentence for sentence in said)
    assert contents(project.directory) == before


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch, own_digits: Project, own_projects: Path) -> Iterator[Any]:
    """``somebody("ann@example.org")`` is logged in from then on; of all, only ann may edit, and eve gets in nowhere."""
    settings = {"auth": {}, "tracefix": {"editors": ["Ann@example.org"], "readers": ["example.org"]}}
    fix = record("fix-preview").model_copy(update={"test_id": own_digits.mispredictions()[0]["id"]})
    own_digits.history.save(fix, state="preview")
    monkeypatch.setattr(permission, "secrets", lambda: settings)

    def logged_in(address: str | None) -> None:
        for module in ("permission", "login"):
            monkeypatch.setattr(f"dashboard.{module}.email", lambda: address)

    yield logged_in
    set_rule(None)


def test_an_editor_keeps_a_fix_under_their_name(
    somebody: Any, own_digits: Project, open_page: OpenPage
) -> None:
    somebody("ann@example.org")
    app = open_page("preview", project="digits", fix="fix-preview")
    app.button(key="keep").click().run()
    assert not app.exception and not app.error
    set_rule(None)
    assert own_digits.history.get("fix-preview").kept_by == "ann@example.org"
    rows = shown(open_page("history", project="digits"), "history")
    assert rows is not None and rows["rows"][0]["cells"]["when"].endswith("kept by ann@example.org")
    assert app.button(key="log-out").label == "Log out"


def test_a_reader_of_the_list_looks_and_a_stranger_does_not(somebody: Any, open_page: OpenPage) -> None:
    somebody("bob@example.org")
    app = open_page("preview", project="digits", fix="fix-preview")
    assert shown(app, "comparison") is not None
    assert "keep" not in {button.key for button in app.button}
    for address in ("eve@evil.net", None):
        somebody(address)
        app = open_page("preview", project="digits", fix="fix-preview")
        assert shown(app, "comparison") is None and not app.exception
        assert {str(button.key) for button in app.button} <= {"log-in-default", "log-out"}
