"""Projects made from a task in memory, through the public API: a task file that hands over what a test built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from attribution import Engine, Project, Task, create_project, prepare
from attribution.projects import Manifest, TaskSource

_TASKS: dict[str, Callable[[], Task]] = {}


def project_of(directory: Path, build: Callable[[], Task]) -> Project:
    """A project whose task file calls ``build``."""
    directory.mkdir(parents=True, exist_ok=True)
    key = str(directory)
    _TASKS[key] = build
    (directory / "task.py").write_text(
        f"from tests.unit.built_projects import built\n\n\ndef build():\n    return built({key!r})\n",
        encoding="utf-8",
    )
    source = TaskSource(file="task.py", function="build")
    return create_project(directory, Manifest(name=directory.name, title="Built for a test", source=source))


def built(key: str) -> Task:
    """What the task file of `project_of` returns."""
    return _TASKS[key]()


def engine_of(directory: Path, build: Callable[[], Task]) -> Engine:
    """A prepared project's engine, on the CPU."""
    project = project_of(directory, build)
    prepare(project, device="cpu")
    return Engine(project, device="cpu")


def with_batches_of(engine: Engine, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an engine compute fresh gradients in batches of ``size``, until the end of the test."""
    loaded = replace(engine._loaded, batch_size=size)
    monkeypatch.setattr(engine, "_run", replace(engine._run, loaded=loaded))
