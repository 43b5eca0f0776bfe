"""What all tests share: a home directory of their own and the prepared `digits` sample."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from attribution.projects import Project
from attribution.projects.access import set_rule
from tests.command_line import CommandLine


@pytest.fixture(scope="session", autouse=True)
def tracefix_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh ``$TRACEFIX_HOME``: no test reads or writes the home directory of whoever runs it."""
    home = tmp_path_factory.mktemp("tracefix-home")
    kept = {
        name: os.environ.pop(name, None) for name in ("TRACEFIX_HOME", "TRACEFIX_PROJECTS", "TRACEFIX_DEBUG")
    }
    os.environ["TRACEFIX_HOME"] = str(home)
    yield home
    del os.environ["TRACEFIX_HOME"]
    os.environ.update({name: value for name, value in kept.items() if value is not None})


@pytest.fixture(autouse=True)
def own_rights() -> None:
    """No test is refused a change by the rule of a dashboard that another one drew in this process."""
    set_rule(None)


@pytest.fixture(scope="session")
def untouched_digits(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The bundled `digits` sample as preparing leaves it. Nobody works in it: it is there to be copied."""
    from dashboard.opening import open_prepared

    return open_prepared("digits", tmp_path_factory.mktemp("untouched"))


@pytest.fixture(scope="session")
def prepared_digits(untouched_digits: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Prepared `digits`, shared by all tests of a process.

    They leave it as it is, but for fixes they keep and for what methods that one of them asks for prepare beside it.
    """
    return copied(untouched_digits, tmp_path_factory.mktemp("projects"))


@pytest.fixture
def own_digits(untouched_digits: Project, tmp_path: Path) -> Project:
    """A prepared copy of `digits` in a projects folder of its own, to be damaged or changed at will."""
    return copied(untouched_digits, tmp_path / "projects")


def copied(project: Project, projects: Path) -> Project:
    """A copy of a project in another projects folder."""
    return Project.open(shutil.copytree(project.directory, projects / project.directory.name))


@pytest.fixture
def tracefix(capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line, its output captured down to the file descriptors."""
    return CommandLine(capfd)
