"""Waiting for a job on a page: its progress, a way to cancel it, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable

import streamlit as st

from dashboard.engines import job_queue
from dashboard.jobs import Job
from dashboard.messages import calm, escaped
from dashboard.state import travel

POLL_SECONDS = 0.4
"""A page draws an unfinished job again so often."""

PATIENCE = 0.3
"""Seconds for which a page waits for a quick job, so that it needs no second drawing."""


def follow(job: Job, draw: Callable[[], None]) -> None:
    """Draw what a job has: once if it is quick or finished, else `while_running`."""
    wait_for_something(job)
    if job.finished:
        draw()
    else:
        while_running(job, draw)


@st.fragment(run_every=POLL_SECONDS)
def while_running(job: Job, draw: Callable[[], None]) -> None:
    """Draw a job as far as it is, again and again until it is finished; then the whole page, with its result."""
    travel()
    with calm():
        draw()
    if job.finished:
        st.rerun()


def wait_for_something(job: Job) -> None:
    """Wait `PATIENCE` for the job, or until it has a first result to show."""
    deadline = time.monotonic() + PATIENCE
    while job.interim.result is None and time.monotonic() < deadline:
        if job.wait(0.02):
            return


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
