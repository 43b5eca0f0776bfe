"""Names, directories, recent projects and samples: where things are found and made."""

from __future__ import annotations

import json
import shutil
import threading
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import NotFoundError, ProjectError
from attribution.projects import Project
from attribution.projects.manifest import FILE_NAME
from dashboard import locations
from dashboard.locations import (
    RECENT_LIMIT,
    ensure_sample,
    list_projects,
    projects_directory,
    recent_projects,
    remember,
    resolve,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory of this test alone, and a current directory beside it."""
    monkeypatch.setenv("TRACEFIX_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def project_at(directory: Path, model: Project) -> Path:
    """A project directory that can be listed: only its manifest."""
    directory.mkdir(parents=True)
    shutil.copy2(model.directory / FILE_NAME, directory)
    return directory


def test_the_projects_folder_is_the_option_else_the_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert projects_directory() == home / "projects"
    monkeypatch.setenv("TRACEFIX_PROJECTS", str(home / "handed-over"))
    assert projects_directory() == home / "handed-over"
    assert projects_directory("elsewhere") == Path.cwd() / "elsewhere"
    monkeypatch.delenv("TRACEFIX_PROJECTS")
    monkeypatch.delenv("TRACEFIX_HOME")
    assert projects_directory() == Path.home() / ".tracefix" / "projects"


def test_a_bare_name_means_the_folder_here_before_the_named_one(home: Path, prepared_digits: Project) -> None:
    projects = home / "projects"
    named = project_at(projects / "digits", prepared_digits)
    assert resolve("digits", projects) == named
    (Path.cwd() / "digits").mkdir()
    assert resolve("digits", projects) == named, "a folder here that is no project does not count"
    shutil.copy2(named / FILE_NAME, Path.cwd() / "digits")
    assert resolve("digits", projects) == Path.cwd() / "digits"
    assert resolve("digits", projects, prefer_named=True) == named
    assert resolve("./digits", projects, prefer_named=True) == Path.cwd() / "digits"
    assert resolve(str(named), projects) == named


def test_a_sample_that_is_not_made_yet_resolves_to_its_place(home: Path) -> None:
    assert resolve("digits", home / "projects") == home / "projects" / "digits"
    with pytest.raises(NotFoundError, match="did you mean 'digits'"):
        resolve("digit", home / "projects")
    with pytest.raises(NotFoundError, match="no directory"):
        resolve("../nowhere", home / "projects")


def test_unknown_names_offer_the_users_own_projects(home: Path, prepared_digits: Project) -> None:
    project_at(home / "projects" / "tumours", prepared_digits)
    with pytest.raises(NotFoundError, match="did you mean 'tumours'"):
        resolve("tumors", home / "projects")


@given(name=st.text(max_size=30))
def test_any_name_resolves_or_is_refused_with_a_sentence(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    projects = tmp_path_factory.getbasetemp()
    try:
        assert resolve(name, projects).is_absolute()
    except NotFoundError as error:
        assert str(error).startswith("There is no")


def test_damaged_projects_are_listed_with_their_problem(home: Path, prepared_digits: Project) -> None:
    projects = home / "projects"
    good = project_at(projects / "good", prepared_digits)
    bad = project_at(projects / "bad", prepared_digits)
    (bad / FILE_NAME).write_text("{")
    (projects / ".half.part").mkdir()
    (projects / "notes.txt").write_text("")
    entries = {entry.directory: entry for entry in list_projects(projects)}
    assert set(entries) == {good, bad}
    assert entries[good].problem is None
    assert entries[good].title == prepared_digits.title
    assert FILE_NAME in (entries[bad].problem or "")
    assert list_projects(home / "missing") == []
    with pytest.raises(ProjectError, match="cannot be read"):
        list_projects(good / FILE_NAME)


def test_recent_projects_are_latest_first_each_once_and_still_there(
    home: Path, prepared_digits: Project
) -> None:
    assert recent_projects() == []
    made = [
        project_at(home / "elsewhere" / str(number), prepared_digits) for number in range(RECENT_LIMIT + 3)
    ]
    for directory in [*made, made[5]]:
        remember(directory)
    recent = recent_projects()
    assert recent[0].directory == made[5]
    assert [entry.directory for entry in recent[1:4]] == [made[-1], made[-2], made[-3]]
    assert len({entry.directory for entry in recent}) == len(recent) == RECENT_LIMIT
    assert recent[0].opened is not None
    assert recent[0].opened.tzinfo is UTC
    shutil.rmtree(made[5])
    assert made[5] not in [entry.directory for entry in recent_projects()]


@pytest.mark.parametrize(
    "damage",
    ["", "{", "{}", "[1, null]", '[{"directory": "x"}]', '[{"directory": "x", "opened": "noon"}]', "\xff"],
)
def test_a_damaged_list_of_recent_projects_is_an_empty_one(
    home: Path, prepared_digits: Project, damage: str
) -> None:
    home.mkdir()
    (home / "recent.json").write_bytes(damage.encode("latin-1"))
    assert recent_projects() == []
    remember(prepared_digits.directory)
    assert [entry.directory for entry in recent_projects()] == [prepared_digits.directory]


def test_a_home_that_cannot_be_written_costs_only_the_list(home: Path, prepared_digits: Project) -> None:
    home.write_text("a file where the folder should be")
    remember(prepared_digits.directory)
    assert recent_projects() == []


def test_recent_projects_are_stored_as_plain_json(home: Path, prepared_digits: Project) -> None:
    remember(prepared_digits.directory)
    rows = json.loads((home / "recent.json").read_text())
    assert [row["directory"] for row in rows] == [str(prepared_digits.directory)]


def test_two_at_once_make_one_sample(tmp_path: Path) -> None:
    """Both get the finished project, whoever was first; no temporary folder stays."""
    found: list[Path] = []
    workers = [
        threading.Thread(target=lambda: found.append(ensure_sample("digits", tmp_path))) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [tmp_path / "digits"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]
    assert Project.open(tmp_path / "digits").name == "digits"


def test_a_sample_that_is_there_is_left_alone(
    tmp_path: Path, prepared_digits: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_at(tmp_path / "digits", prepared_digits)
    monkeypatch.setattr(locations, "SAMPLES", {"digits": None})
    assert ensure_sample("digits", tmp_path) == tmp_path / "digits"
