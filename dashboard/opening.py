"""From the name of a project to a project that is ready: made if it is a sample, prepared if it is not yet.

The command line and the dashboard both open projects here. Light until something has to be made or prepared.
"""

from __future__ import annotations

from pathlib import Path

from attribution.errors import NotFoundError, ProjectError
from attribution.progress import SILENT, Reporter
from attribution.projects import Project
from attribution.projects.access import check_may_change
from attribution.projects.manifest import FILE_NAME
from dashboard.locations import ensure_sample, remember, resolve
from sample_models import SAMPLES

CREATION_SHARE = 0.3
"""Part of the progress bar that making a sample takes before it is prepared."""


def open_project(
    project: str, projects: Path, reporter: Reporter = SILENT, *, prefer_named: bool = False
) -> Project:
    """Open a project by directory or name, prepared or not; a bundled sample is made first if it is missing.

    Raises:
        NotFoundError: no such project or sample.
        ProjectError: not a project, damaged, or its place cannot be written.
        Cancelled: the reporter was asked to stop.
    """
    directory = resolve(project, projects, prefer_named=prefer_named)
    if project in SAMPLES and directory == projects / project and not (directory / FILE_NAME).is_file():
        directory = ensure_sample(project, projects, reporter)
    return Project.open(directory)


def discard_damaged(project: Project) -> None:
    """Let a preparation whose tables cannot be read count as not done, so that preparing makes it again."""
    if not project.prepared:
        return
    try:
        for split in ("train", "test"):
            project.examples(split)
            project.predictions(split)
    except ProjectError:
        check_may_change(f"prepare '{project.name}' again")
        (project.prepared_directory / "prepared.json").unlink(missing_ok=True)


def open_prepared(
    project: str,
    projects: Path,
    reporter: Reporter = SILENT,
    *,
    prefer_named: bool = False,
) -> Project:
    """Open a project by directory or name, making the sample and preparing it where that was not done yet.

    Raises:
        NotFoundError: no such project or sample.
        ProjectError: not a project, damaged, or its place cannot be written.
        Cancelled: the reporter was asked to stop; nothing half-made is left behind.
    """
    directory = resolve(project, projects, prefer_named=prefer_named)
    created = (directory / FILE_NAME).is_file()
    opened = open_project(project, projects, reporter.share(0.0, CREATION_SHARE), prefer_named=prefer_named)
    if not opened.prepared:
        from attribution.preparation import prepare

        prepare(opened, reporter=reporter if created else reporter.share(CREATION_SHARE, 1.0))
        opened = Project.open(opened.directory)
    remember(opened.directory)
    return opened


def prepared_stages(project: Project, name: str, reporter: Reporter = SILENT) -> list[Project]:
    """The training stages before a project up to the one of that name, the latest first, each prepared.

    Raises:
        NotFoundError: no stage of that name.
        ProjectError: a stage is missing or damaged, or cannot be prepared.
    """
    stages = project.earlier_stages()
    names = [stage.name for stage in stages]
    if name not in names:
        known = f"they are {', '.join(names)}" if names else "it has none: name one with tracefix new --after"
        raise NotFoundError(f"Project '{project.name}' has no earlier stage '{name}': {known}.")
    wanted = stages[: names.index(name) + 1]
    for done, stage in enumerate(wanted):
        if not stage.prepared:
            from attribution.preparation import prepare

            prepare(
                stage,
                methods=["source"],
                reporter=reporter.share(done / len(wanted), (done + 1) / len(wanted)),
            )
    return [Project.open(stage.directory) for stage in wanted]
