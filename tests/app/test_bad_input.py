"""Whatever a link asks for, a page answers with a sentence and a way out, never with a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from attribution.projects import Project
from tests.app.drawn_pages import OpenPage, shown, until_shown

PAGES = ["mispredictions", "investigate", "group", "preview", "history"]


def words(app: AppTest) -> str:
    """All messages of a page, as a person reads them."""
    messages = [*app.error, *app.info, *app.warning]
    return " ".join(message.value.replace("\\", "") for message in messages)


def assert_calm(app: AppTest) -> None:
    """No traceback, and a button that leads on."""
    assert not app.exception
    assert "Traceback" not in words(app)
    assert [button for button in app.button if (button.key or "").startswith("exit")], "there is a way out"


@pytest.mark.parametrize("page", PAGES)
def test_unknown_project(page: str, projects: Path, open_page: OpenPage) -> None:
    app = open_page(page, project="digts")
    assert_calm(app)
    assert "digts" in words(app)
    assert "did you mean 'digits'" in words(app)


@pytest.mark.parametrize("page", PAGES)
def test_no_project(page: str, projects: Path, open_page: OpenPage) -> None:
    app = open_page(page)
    assert_calm(app)
    assert "No project is open yet" in words(app)


def test_a_link_does_not_open_any_folder(
    own_digits: Project, projects: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    app = open_page("mispredictions", project=str(own_digits.directory))
    assert_calm(app)
    assert "was not opened on this machine before" in words(app)
    assert shown(app, "mispredictions") is None


def test_unknown_example(projects: Path, open_page: OpenPage) -> None:
    app = open_page("investigate", project="digits", example="digit-99999")
    assert_calm(app)
    assert "There is no test example 'digit-99999'" in words(app)


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        ("project", "a" * 300, "There is no project"),
        ("project", "/" + "a" * 300, "There is no directory"),
        ("project", "~" * 300 + "/x", "There is no directory"),
        ("measurement", "a" * 300 + ".py:f", "There is no file"),
    ],
)
def test_a_name_too_long_for_any_file_is_an_unknown_one(
    parameter: str, value: str, said: str, projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    example_id = prepared_digits.mispredictions()[0]["id"]
    link = {"project": "digits", "example": example_id, "method": "grad_dot", parameter: value}
    app = open_page("investigate", **link)
    assert not app.exception
    assert said in words(app) and "unexpected" not in words(app)


def test_unknown_fix(projects: Path, open_page: OpenPage) -> None:
    app = open_page("preview", project="digits", fix="fix-nobody")
    assert_calm(app)
    assert "There is no fix 'fix-nobody'" in words(app)


def test_lost_job(projects: Path, prepared_digits: Project, open_page: OpenPage) -> None:
    example_id = prepared_digits.mispredictions()[0]["id"]
    app = open_page("preview", project="digits", example=example_id, job="0123456789")
    assert_calm(app)
    assert "the server was restarted" in words(app)


def test_lost_preparation(projects: Path, open_page: OpenPage) -> None:
    app = open_page("projects", job="0123456789")
    assert not app.exception
    assert "was lost when the server was restarted" in words(app)


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        ("method", "magic", "There is no method 'magic'"),
        ("measurement", "evil.py:run", "cannot be used here"),
        ("measurement", "logit:no such class", "cannot be used here"),
        ("tray", "not json", ""),
        ("tray", '[[1,2],"x",["nobody","u"],["digit-0746","z"]]', ""),
    ],
)
def test_unknown_choice_falls_back(
    parameter: str, value: str, said: str, projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    example_id = prepared_digits.mispredictions()[0]["id"]
    app = open_page("investigate", project="digits", example=example_id, **{parameter: value})
    until_shown(app, "influence")
    assert not app.exception
    assert not app.error
    assert said in words(app), "it is still said once the explanation is there"
    assert shown(app, "tray-items") is None
    app.button(key="next").click().run()
    assert not app.warning, "what cannot be had is not carried on"


@pytest.mark.parametrize("page", ["0", "-3", "999", "x", ""])
def test_page_number_out_of_range(page: str, projects: Path, open_page: OpenPage) -> None:
    app = open_page("mispredictions", project="digits", page=page, sort="nonsense")
    assert not app.exception
    assert not app.error
    assert shown(app, "mispredictions") is not None


@pytest.mark.parametrize("page", PAGES)
def test_not_prepared(page: str, own_projects: Path, own_digits: Project, open_page: OpenPage) -> None:
    (own_digits.prepared_directory / "prepared.json").unlink()
    app = open_page(page, project="digits")
    assert_calm(app)
    assert "missing, incomplete, or older" in words(app)


def test_prepare_it_now_prepares_and_shows_the_mispredictions(
    own_projects: Path, own_digits: Project, open_page: OpenPage
) -> None:
    (own_digits.prepared_directory / "prepared.json").unlink()
    app = open_page("history", project="digits")
    app.button(key="exit-prepare").click().run()  # which waits until the project is prepared
    assert own_digits.prepared
    assert not app.exception
    assert shown(app, "mispredictions") is not None


def test_half_prepared(own_projects: Path, own_digits: Project, open_page: OpenPage) -> None:
    (own_digits.prepared_directory / "test_predictions.parquet").unlink()
    app = open_page("mispredictions", project="digits")
    assert_calm(app)


def test_damaged_table(own_projects: Path, own_digits: Project, open_page: OpenPage) -> None:
    file = own_digits.prepared_directory / "test_predictions.parquet"
    file.write_bytes(b"\0" * file.stat().st_size)
    app = open_page("mispredictions", project="digits")
    assert_calm(app)
    assert "missing or damaged" in words(app)


@pytest.mark.parametrize("text", ["", "{", '{"name": 3}', "[]", "\0"])
def test_damaged_manifest(text: str, own_projects: Path, own_digits: Project, open_page: OpenPage) -> None:
    (own_digits.directory / "project.json").write_text(text)
    app = open_page("mispredictions", project="digits")
    assert_calm(app)
    landing = open_page("projects")
    assert not landing.exception


def test_damaged_history(own_projects: Path, own_digits: Project, open_page: OpenPage) -> None:
    (own_digits.directory / "history.sqlite").write_bytes(b"this is not a database" * 100)
    app = open_page("history", project="digits")
    assert_calm(app)
    assert "is damaged" in words(app)


def test_no_mispredictions(own_projects: Path, own_digits: Project, open_page: OpenPage) -> None:
    file = own_digits.prepared_directory / "test_predictions.parquet"
    table = pd.read_parquet(file)
    table["predicted"] = table["label"]
    table.to_parquet(file)
    record_file = own_digits.prepared_directory / "prepared.json"
    record = json.loads(record_file.read_text())
    record["files"]["test_predictions.parquet"] = file.stat().st_size
    record_file.write_text(json.dumps(record))
    app = open_page("mispredictions", project="digits")
    assert_calm(app)
    assert "Every test example is predicted right" in app.success[0].value


def test_unexpected_errors_stay_calm(
    projects: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Project, "preparation", property(lambda self: 1 / 0))
    app = open_page("mispredictions", project="digits")
    assert_calm(app)
    assert "Something unexpected went wrong" in words(app)
    assert "ZeroDivisionError" in caplog.text, "the server's log has the details"
