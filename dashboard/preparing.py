"""Preparing a project in the background."""

from __future__ import annotations

from attribution.progress import Reporter
from attribution.projects.access import check_may_change
from dashboard.engines import PREPARATION_LANE, job_queue
from dashboard.jobs import Job
from dashboard.locations import projects_directory, reference_to
from dashboard.opening import open_prepared
from dashboard.permission import refusing
from dashboard.state import go


def start_preparation(reference: str, title: str) -> Job:
    """Queue making (a sample) and preparing a project; joins the job that does so already.

    Raises:
        ReadOnlyError: whoever asks may change nothing.
    """
    check_may_change(f"prepare {title}")
    projects = projects_directory()

    def work(reporter: Reporter) -> str:
        opened = open_prepared(reference, projects, reporter, prefer_named=True)
        return reference_to(opened.directory)

    return job_queue().submit(
        work,
        key=("prepare", str(projects), reference),
        kind="prepare",
        title=f"Preparing {title}",
        lane=PREPARATION_LANE,
        subject={"project": reference},
        afresh=True,
    )


@refusing
def prepare_and_follow(reference: str, title: str) -> None:
    """Button callback: start preparing and show the progress on Projects."""
    go("projects", {"job": start_preparation(reference, title).id})
