"""Preparing a project in the background, and following that on the page that shows it."""

from __future__ import annotations

import streamlit as st

from attribution.progress import Reporter
from attribution.projects.access import check_may_change
from dashboard.engines import PREPARATION_LANE, job_queue
from dashboard.jobs import Job
from dashboard.locations import projects_directory, reference_to
from dashboard.opening import open_prepared
from dashboard.permission import refusing
from dashboard.state import go, parameter, set_parameters, travel


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


def followed_job(what: str) -> Job | None:
    """The job in the URL; a lost one is taken out of it, and said to be lost.

    Args:
        what: such a job in words ("preparation").
    """
    job_id = parameter("job")
    job = job_queue().get(job_id) if job_id else None
    if job_id and job is None:
        set_parameters(job=None)
        st.warning(
            f"The {what} in this link was lost when the server was restarted. Start it again: finished parts are kept.",
            icon=":material/link_off:",
        )
    return job


def arrive(job: Job) -> None:
    """Go to the mispredictions of what was prepared, once: going back in the browser must not lead there again."""
    arrived: set[str] = st.session_state.setdefault("arrived", set())
    if job.id not in arrived:
        arrived.add(job.id)
        go("mispredictions", {"project": str(job.result)})
        travel()
