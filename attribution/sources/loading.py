"""Loading the `Task` of a project."""

from __future__ import annotations

import inspect

from attribution.errors import ProjectError
from attribution.projects import Project, TaskSource
from attribution.sources.python_function import describe, importing_beside, load_function
from attribution.task import Task


def load_task(project: Project) -> Task:
    """The task of a project: model, data, checkpoints and training record.

    Raises:
        ProjectError: a file is missing or damaged, or the user's function fails.
    """
    source = project.manifest.source
    if isinstance(source, TaskSource):
        return _from_function(project, source)
    from attribution.sources.transformers_folder import load_transformers_task

    return load_transformers_task(project, source)


def _from_function(project: Project, source: TaskSource) -> Task:
    name = f"{project.resolve(source.file)}:{source.function}"
    function = load_function(name)
    accepted = len(inspect.signature(function).parameters)
    try:
        with importing_beside(project.resolve(source.file)):  # where `build` itself imports something
            task = function(project.directory) if accepted else function()
    except (Exception, SystemExit) as error:
        raise ProjectError(f"{name} fails ({describe(error)}): mend the function and try again.") from error
    if not isinstance(task, Task):
        raise ProjectError(f"{name} returned {type(task).__name__}: it must return an attribution.Task.")
    return task
