"""What somebody fills in to open a model of their own: the command that does the same, and the project it makes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from attribution.errors import ProjectError, UsageError
from attribution.progress import Reporter
from attribution.projects import Project
from attribution.projects.access import check_may_change
from attribution.projects.files import expanded
from attribution.projects.manifest import FILE_NAME, Manifest, read_manifest
from dashboard.function_files import FunctionFile, function_file
from dashboard.locations import projects_directory, reference_to
from dashboard.new_project import Table, create, from_function, from_tables
from dashboard.opening import open_prepared

CHECKING_SHARE = 0.1
"""Part of the progress bar that loading everything once takes before it is prepared."""


@dataclass(frozen=True)
class TablesDraft:
    """A transformers folder with a table per split; paths absolute."""

    directory: Path
    model: Path
    train: Path
    test: Path
    columns: Table
    checkpoints: str | None = None

    def command(self) -> str:
        """The same on the command line."""
        options = {
            "--model": str(self.model),
            "--train": str(self.train),
            "--test": str(self.test),
            "--text": self.columns.text,
            "--pair": self.columns.pair,
            "--image": self.columns.image,
            "--label": self.columns.label,
            "--id": self.columns.id,
            "--checkpoints": self.checkpoints,
        }
        return _commands(self.directory, options)

    def blamed(self, sentence: str) -> tuple[str, str] | None:
        """The field that an error speaks of, by the path in it, and what it had; None where that is unclear."""
        paths = {"train": self.train, "test": self.test, "model": self.model}
        found = [field for field, path in paths.items() if f"'{path}'" in sentence or f"'{path}/" in sentence]
        return (found[0], str(paths[found[0]])) if found else None

    def manifest(self) -> Manifest:
        """As `dashboard.new_project.from_tables`, with its errors."""
        return from_tables(self.directory, self.model, self.train, self.test, self.columns, self.checkpoints)


@dataclass(frozen=True)
class TaskDraft:
    """A function that returns a task, as it was when the user said that it may run."""

    directory: Path
    function: FunctionFile

    def command(self) -> str:
        """The same on the command line."""
        return _commands(self.directory, {"--task": self.function.name})

    def blamed(self, sentence: str) -> tuple[str, str] | None:
        """None: with a single field it is clear what an error speaks of."""
        del sentence
        return None

    def manifest(self) -> Manifest:
        """As `dashboard.new_project.from_function`, with its errors.

        Raises:
            UsageError: the file was changed since.
        """
        if function_file(self.function.name, Path.cwd()) != self.function:
            raise UsageError(
                f"'{self.function.path}' was changed since you allowed it to run: look at it, and confirm it again."
            )
        return from_function(self.directory, self.function.name)


Draft = TablesDraft | TaskDraft


def project_directory(name: str) -> Path:
    """Where a project of this name, or at this path, lies.

    Raises:
        UsageError: no name that a folder can have.
    """
    given = name.strip()
    path = expanded(given)
    if not given or not given.isprintable() or path.name in {"", ".", ".."}:
        raise UsageError("The project has no name: give one, or the path of a folder to make it in.")
    if path.is_absolute():
        return Path(os.path.normpath(path))
    if path.name != given or given.startswith("."):
        raise UsageError(f"'{given}' is neither a plain name nor a whole path: give one of them.")
    return projects_directory() / given


def suggested_name(source: Path) -> str:
    """A free name for a project, after the file or folder that it is made of."""
    parts = [source.stem if source.suffix == ".py" else source.name, *(p.name for p in source.parents[:2])]
    usual = re.compile(r"checkpoint-\d+|model|output|task|checkpoint", re.IGNORECASE)
    wanted = next((part for part in parts if part and not usual.fullmatch(part)), parts[0])
    name = re.sub(r"[^\w.-]+", "-", wanted).strip("-.") or "my-project"
    taken = projects_directory()
    numbers = (name if number == 1 else f"{name}-{number}" for number in range(1, 10_000))
    return next((free for free in numbers if not (taken / free).exists()), name)


def open_draft(draft: Draft, reporter: Reporter) -> str:
    """Make the project as `tracefix new` does, prepare it, and say what a link calls it.

    Where that fails or is cancelled, what was made is taken away again.

    Raises:
        TracefixError: as `create` and `prepare`.
    """
    check_may_change(f"make '{draft.directory.name}'")
    reporter(0.0, "Checking that it loads")
    manifest = draft.manifest()
    if _is_made(draft.directory, manifest):  # cut off earlier, by the end of the server
        return _prepared(draft.directory, reporter)
    existed = draft.directory.exists()
    had_results = (draft.directory / "prepared").exists()
    create(draft.directory, manifest)
    try:
        return _prepared(draft.directory, reporter)
    except BaseException:
        if not existed:
            shutil.rmtree(draft.directory, ignore_errors=True)
        else:
            (draft.directory / FILE_NAME).unlink(missing_ok=True)
            if not had_results:
                shutil.rmtree(draft.directory / "prepared", ignore_errors=True)
        raise


def _prepared(directory: Path, reporter: Reporter) -> str:
    project = open_prepared(str(directory), projects_directory(), reporter.share(CHECKING_SHARE, 1.0))
    return reference_to(project.directory)


def _is_made(directory: Path, manifest: Manifest) -> bool:
    with suppress(ProjectError):
        return read_manifest(directory) == manifest
    return False


def own_project(given: str) -> Project:
    """The project in a folder that the user names.

    Raises:
        ProjectError: there is none.
    """
    return Project.open(Path(os.path.normpath(expanded(given.strip()).absolute())))


def _commands(directory: Path, options: dict[str, str | None]) -> str:
    given = [part for option, value in options.items() if value for part in (option, value)]
    project = str(directory)
    return (
        f"{shlex.join(['tracefix', 'new', project, *given])}\n{shlex.join(['tracefix', 'prepare', project])}"
    )
