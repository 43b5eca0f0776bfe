"""Measurements that are a function in a Python file: which file a name means, and whether it may run.

Whoever writes a link could name any Python file of this machine, and a project's folder may be somebody's repository
with scripts in it. So a file runs only after the user confirmed it on a page, as it was then; the one exception is the
project's own task file, which runs anyway when the project is opened.
"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from attribution.errors import NotFoundError, ProjectError, UsageError
from attribution.projects import Project, TaskSource
from attribution.projects.access import check_may_change
from attribution.projects.files import expanded, is_file
from attribution.sources.python_function import split_name


@dataclass(frozen=True)
class FunctionFile:
    """A function of a file that exists.

    Args:
        path: of the file, absolute, links followed.
        function: its name.
        digest: SHA-256 of the file's content.
    """

    path: Path
    function: str
    digest: str

    @property
    def name(self) -> str:
        """``FILE.py:FUNCTION`` with the whole path."""
        return f"{self.path}:{self.function}"


class ConfirmedFunctions:
    """What the user said may run, until the server stops. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._confirmed: set[FunctionFile] = set()

    def confirm(self, file: FunctionFile) -> None:
        """The user wants this function of this file, as the file is now.

        Raises:
            ReadOnlyError: whoever asks may only look, and not have code run on the server.
        """
        check_may_change("have this function run")
        with self._lock:
            self._confirmed.add(file)

    def may_run(self, project: Project, file: FunctionFile) -> bool:
        """Whether the file may run: confirmed and not changed since, or the project's task file."""
        source = project.manifest.source
        if isinstance(source, TaskSource) and file.path == _real(project.resolve(source.file)):
            return True
        with self._lock:
            return file in self._confirmed

    def runnable(self, project: Project, measurement: str) -> str:
        """The measurement as the engine takes it, a file by its whole path: asked right before it would run.

        Raises:
            UsageError: it is a function that nobody confirmed, or no function name.
            NotFoundError: its file is gone.
        """
        if not is_function(measurement):
            return measurement
        file = function_file(measurement, project.directory)
        if not self.may_run(project, file):
            raise UsageError(
                f"The function {file.name} was not confirmed, or its file was changed since: open Investigate with "
                "this measurement and confirm it there."
            )
        return file.name


@st.cache_resource(show_spinner=False)
def confirmed_functions() -> ConfirmedFunctions:
    """The server's confirmed functions."""
    return ConfirmedFunctions()


def is_function(measurement: str) -> bool:
    """Whether a measurement is named as ``FILE.py:FUNCTION``."""
    return ".py:" in measurement and not measurement.startswith("logit:")


def function_file(name: str, directory: Path) -> FunctionFile:
    """The file and function that a name means, without running anything; a relative file starts at ``directory``.

    Raises:
        UsageError: not of the form FILE.py:FUNCTION.
        NotFoundError: no such file.
        ProjectError: the file cannot be read.
    """
    if not name.isprintable():  # what cannot be shown cannot be confirmed
        raise UsageError(
            "The name of a function file holds characters that cannot be shown: rename the file."
        )
    file, function = split_name(name)
    given = expanded(file)
    path = _real(given if given.is_absolute() else directory / given)
    if not is_file(path):
        raise NotFoundError(f"There is no file '{path}': give an existing Python file as FILE.py:FUNCTION.")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ProjectError(
            f"'{path}' cannot be read ({error.strerror or error}): make it readable."
        ) from error
    return FunctionFile(path, function, digest)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
