"""Waiting for a job on a page: its progress, a way to cancel it, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from attribution.projects.access import refusal
from dashboard.engines import job_queue
from dashboard.jobs import Job
from dashboard.messages import escaped

POLL_SECONDS, STEP_SECONDS = 0.4, 0.05
"""How often a page moves the bars of unfinished jobs, and how often it looks whether one is finished."""

PATIENCE = 0.3
"""Seconds for which a page waits for a quick job, so that it needs no second drawing."""

PLACES_BELOW = 20
"""More than any page draws below what it waits for."""

_CHANGES, _BARS = "awaited changes", "moving bars"
"""What the drawing under way waits for, and what it moves meanwhile (in the session, as pages have no other place)."""


def follow(job: Job, draw: Callable[[], None]) -> None:
    """Draw what a job has, after a moment's patience, and the page again when it has more."""
    wait_for_something(job)
    while_running(job, draw)


def while_running(job: Job, draw: Callable[[], None]) -> None:
    """Draw what a job has now, and the page again when it has more."""
    early, finished = job.interim.result is not None, job.finished
    draw()
    if not finished:
        redraw_when(lambda: job.finished or (not early and job.interim.result is not None))


def start_anew() -> None:
    """Forget what an earlier drawing of the page waited for; called before a page is drawn."""
    st.session_state[_CHANGES], st.session_state[_BARS] = [], []


def redraw_when(changed: Callable[[], bool]) -> None:
    """Have the page drawn again as soon as this is true."""
    st.session_state[_CHANGES].append(changed)


def keep_waiting() -> None:
    """Move the page's progress bars until something it waits for has changed, then draw it again; called last.

    In the run that drew the page, which any click ends at once, not in a fragment with `run_every`: the browser's timer
    goes on for a moment after the page was left or drawn anew, and now and then the answer to that replaced a new page
    by an old one. What an earlier run left below is taken away first. While it waits, fragments (dialogs) of the same
    page would have to wait, too: there are none.
    """
    changes: list[Callable[[], bool]] = st.session_state.pop(_CHANGES)
    bars: list[_Bar] = st.session_state.pop(_BARS)
    if not changes:
        return
    pulse = clear_places(PLACES_BELOW)
    drawn = 0.0
    while not any(changed() for changed in changes):
        if time.monotonic() - drawn >= POLL_SECONDS:
            drawn = time.monotonic()
            for bar in bars:
                bar.draw()
            pulse.empty()  # a call to Streamlit is where a newer run takes over
        time.sleep(STEP_SECONDS)
    st.rerun()


def clear_places(count: int) -> DeltaGenerator:
    """Take away what an earlier run drew at the next places of this container; the last of them.

    Streamlit does so by itself only when a run ends. One that waits has not ended: buttons that belong to something
    else would stand beside its progress bar, and could be clicked.

    Args:
        count: how many places, at least 1.
    """
    return [st.empty() for _ in range(count)][-1]


def wait_for_something(job: Job) -> None:
    """Wait `PATIENCE` for the job, or until it has a first result to show."""
    deadline = time.monotonic() + PATIENCE
    while job.interim.result is None and time.monotonic() < deadline:
        if job.wait(0.02):
            return


def show_progress(job: Job, key: str) -> None:
    """The progress bar of an unfinished job with a way to cancel it; how it ended otherwise."""
    if job.finished:
        if job.state == "cancelled":
            st.info(escaped(job.error or ""), icon=":material/cancel:")
        elif job.state == "failed":
            st.error(escaped(job.error or ""), icon=":material/error:")
        return
    bar = _Bar(job, st.empty())
    bar.draw()
    st.session_state[_BARS].append(bar)
    if job.refusal is None and refusal() is not None:
        return  # somebody else's work
    st.button(
        "Cancel", key=f"cancel-{key}", on_click=job_queue().cancel, args=(job,), disabled=job.token.cancelled
    )


@dataclass(frozen=True)
class _Bar:
    """A place on the page where the progress of a job is drawn over and over."""

    job: Job
    place: DeltaGenerator

    def draw(self) -> None:
        job = self.job
        ahead = job_queue().ahead(job)
        fraction = min(max(job.fraction, 0.0), 1.0)
        if job.token.cancelled:
            self.place.progress(fraction, text="Cancelling at the next safe point")
        elif ahead:
            count = f"{len(ahead)} job{'s' if len(ahead) > 1 else ''} ahead"
            self.place.progress(
                0.0, text=f"Waiting, {count}: {escaped(ahead[0].title)} ({ahead[0].fraction:.0%})"
            )
        else:
            self.place.progress(fraction, text=f"{escaped(job.message)} ({job.fraction:.0%})")
