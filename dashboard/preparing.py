"""Preparing a project in the background, and how its progress looks on a page."""

from __future__ import annotations

import streamlit as st

from attribution.progress import Reporter
from dashboard.engines import PREPARATION_LANE, job_queue
from dashboard.jobs import Job
from dashboard.locations import projects_directory, reference_to
from dashboard.messages import escaped
from dashboard.opening import open_prepared
from dashboard.state import go


def start_preparation(reference: str, title: str) -> Job:
    """Queue making (a sample) and preparing a project; joins the job that does so already."""
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


def prepare_and_follow(reference: str, title: str) -> None:
    """Button callback: start preparing and show the progress on Projects."""
    go("projects", {"job": start_preparation(reference, title).id})


def show_progress(job: Job, key: str) -> None:
    """The progress bar of an unfinished job with a way to cancel it; how it ended otherwise."""
    queue = job_queue()
    if job.finished:
        if job.state == "cancelled":
            st.info(escaped(job.error or ""), icon=":material/cancel:")
        elif job.state == "failed":
            st.error(escaped(job.error or ""), icon=":material/error:")
        return
    ahead = queue.ahead(job)
    stopping = job.token.cancelled
    if stopping:
        st.progress(min(max(job.fraction, 0.0), 1.0), text="Cancelling at the next safe point")
    elif ahead:
        count = f"{len(ahead)} job{'s' if len(ahead) > 1 else ''} ahead"
        st.progress(0.0, text=f"Waiting, {count}: {escaped(ahead[0].title)} ({ahead[0].fraction:.0%})")
    else:
        st.progress(min(max(job.fraction, 0.0), 1.0), text=f"{escaped(job.message)} ({job.fraction:.0%})")
    st.button("Cancel", key=f"cancel-{key}", on_click=queue.cancel, args=(job,), disabled=stopping)
