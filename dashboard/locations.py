"""Where projects live and how a name on the command line or in a link becomes a directory. Light: no torch.

$TRACEFIX_HOME (else ~/.tracefix)
    projects/NAME    samples and other projects that go by name
    recent.json      projects opened lately, wherever they are
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attribution.errors import NotFoundError, ProjectError
from attribution.progress import SILENT, Reporter
from attribution.projects.access import check_may_change
from attribution.projects.files import expanded, is_file, is_folder, write_text
from attribution.projects.manifest import FILE_NAME, read_manifest
from sample_models import SAMPLES

HOME_VARIABLE = "TRACEFIX_HOME"
PROJECTS_VARIABLE = "TRACEFIX_PROJECTS"
"""How the command line hands ``--projects`` to the app it starts."""

RECENT_LIMIT = 20


@dataclass(frozen=True)
class ProjectEntry:
    """A project directory as a list shows it; ``problem`` is the sentence that says why it cannot be opened."""

    directory: Path
    name: str
    title: str
    summary: str
    sample: str | None
    modified: datetime
    opened: datetime | None = None
    problem: str | None = None


def home_directory() -> Path:
    """``$TRACEFIX_HOME``, else ``~/.tracefix``."""
    return _absolute(os.environ.get(HOME_VARIABLE) or "~/.tracefix")


def projects_directory(option: str | Path | None = None) -> Path:
    """Where projects go by name: ``option`` (``--projects``), else what the command line handed to the app,
    else the ``projects`` folder of the home directory."""
    chosen = option or os.environ.get(PROJECTS_VARIABLE)
    return _absolute(chosen) if chosen else home_directory() / "projects"


def resolve(project: str, projects: Path, *, prefer_named: bool = False) -> Path:
    """The directory that PROJECT means; it exists, unless PROJECT is a sample that is not made yet.

    Anything with a path separator, and ``.``, is a directory. A bare word is the project in that folder of the
    current directory if there is one, else the project or sample of that name in ``projects``; ``prefer_named``
    (somebody gave ``--projects``) turns the order around.

    Raises:
        NotFoundError: no such directory, project or sample; the sentence lists near names.
    """
    if _is_path(project):
        directory = _absolute(project)
        if not (is_folder(directory) or is_file(directory)):
            raise NotFoundError(
                f"There is no directory '{directory}': give a project directory, or one of the samples "
                f"{_listed(SAMPLES)}."
            )
        return directory
    here, named = _absolute(project), projects / project
    candidates = [named, here] if prefer_named else [here, named]
    for candidate in candidates:
        if is_file(candidate / FILE_NAME):
            return candidate
    if project in SAMPLES:
        return named
    for candidate in candidates:
        if is_folder(candidate):
            return candidate
    raise NotFoundError(_unknown_project(project, projects))


def reference_to(directory: Path) -> str:
    """What a link calls a project directory: its name in the projects folder, else the whole path."""
    return directory.name if directory.parent == projects_directory() else str(directory)


def list_projects(projects: Path) -> list[ProjectEntry]:
    """Projects in a folder, last changed first; damaged ones too, with their problem.

    Raises:
        ProjectError: the folder exists and cannot be listed.
    """
    try:
        directories = [path for path in projects.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ProjectError(
            f"The projects folder '{projects}' cannot be read ({error.strerror or error}): choose another with "
            "--projects."
        ) from error
    entries = [_entry(path) for path in directories if (path / FILE_NAME).is_file()]
    return sorted(entries, key=lambda entry: entry.modified, reverse=True)


def recent_projects() -> list[ProjectEntry]:
    """Projects opened lately, latest first; those that are gone are left out."""
    return [
        _entry(directory, opened) for directory, opened in _read_recent() if (directory / FILE_NAME).is_file()
    ]


def remember(directory: Path) -> None:
    """Put a project at the top of the recent ones.

    A home directory that cannot be written only costs the list: it is no reason to fail what the user asked for.
    """
    directory = _absolute(directory)
    others = [(path, opened) for path, opened in _read_recent() if path != directory]
    rows = [(directory, datetime.now(UTC)), *others][:RECENT_LIMIT]
    document = [{"directory": str(path), "opened": opened.isoformat()} for path, opened in rows]
    try:
        write_text(_recent_file(), json.dumps(document, indent=2) + "\n")
    except ProjectError:
        return


def ensure_sample(name: str, projects: Path, reporter: Reporter = SILENT) -> Path:
    """The directory of a bundled sample, made first if it is missing. Two processes may do so at once.

    Raises:
        NotFoundError: no such sample.
        ProjectError: something else is in its place, or the place cannot be written.
        Cancelled: the reporter was asked to stop; nothing is left behind.
    """
    if name not in SAMPLES:
        near = difflib.get_close_matches(name, SAMPLES, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        raise NotFoundError(f"There is no sample '{name}'{hint} The samples are {_listed(SAMPLES)}.")
    directory = projects / name
    if (directory / FILE_NAME).is_file():
        return directory
    if directory.is_file() or (directory.is_dir() and any(directory.iterdir())):
        raise ProjectError(
            f"'{directory}' is in the way of the sample '{name}' and is not a Tracefix project: move it away or "
            "delete it, then run the same command again."
        )
    _make_folder(projects)
    try:
        SAMPLES[name].create(directory, reporter)
    except ProjectError:
        if not (directory / FILE_NAME).is_file():  # otherwise somebody else finished first: theirs is as good
            raise
    return directory


def _unknown_project(project: str, projects: Path) -> str:
    """The sentence for a name that is neither a project nor a sample."""
    known = dict.fromkeys([*SAMPLES, *(entry.directory.name for entry in list_projects(projects))])
    near = difflib.get_close_matches(project, known, n=3)
    hint = f"; did you mean {_listed(near)}?" if near else "."
    return (
        f"There is no project or sample '{project}'{hint} The samples are {_listed(SAMPLES)}; a project of your "
        "own is opened by its directory."
    )


def _make_folder(folder: Path) -> None:
    check_may_change(f"make '{folder.name}'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(
            f"The projects folder '{folder}' cannot be made ({error.strerror or error}): choose another with "
            "--projects."
        ) from error


def _is_path(project: str) -> bool:
    separators = [separator for separator in (os.sep, os.altsep) if separator]
    return project in {"", ".", "..", "~"} or any(separator in project for separator in separators)


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(expanded(path)))  # noqa: PTH100 - removes `..` without following links


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _entry(directory: Path, opened: datetime | None = None) -> ProjectEntry:
    modified = datetime.fromtimestamp((directory / FILE_NAME).stat().st_mtime, UTC)
    try:
        manifest = read_manifest(directory)
    except ProjectError as error:
        name = directory.name
        return ProjectEntry(directory, name, name, "", None, modified, opened, problem=str(error))
    return ProjectEntry(
        directory, manifest.name, manifest.title, manifest.summary, manifest.sample, modified, opened
    )


def _recent_file() -> Path:
    return home_directory() / "recent.json"


def _read_recent() -> list[tuple[Path, datetime]]:
    """The recent projects as stored; a missing or damaged file is an empty list, rewritten at the next opening."""
    try:
        rows = json.loads(_recent_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return list(_valid_rows(rows if isinstance(rows, list) else []))


def _valid_rows(rows: list[Any]) -> Iterator[tuple[Path, datetime]]:
    for row in rows:
        try:
            opened = datetime.fromisoformat(row["opened"])
            directory = Path(row["directory"])
        except (KeyError, TypeError, ValueError):
            continue
        if directory.is_absolute():
            yield directory, opened if opened.tzinfo else opened.replace(tzinfo=UTC)
