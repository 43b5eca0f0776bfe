"""Studies of a project in the background: what starts them, and how far they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from attribution.progress import Reporter
from attribution.projects.access import check_may_change
from dashboard.current import Opened
from dashboard.engines import VERIFICATION_LANE, engine_shelf, job_queue
from dashboard.jobs import Job
from dashboard.permission import may_change, refusing
from dashboard.waiting import PATIENCE, redraw_when, show_progress

TITLES = {
    "lds": "Measuring fidelity against retraining",
    "fading": "Measuring how influence fades",
    "mislabels": "Measuring how wrong labels are found",
}
"""Studies that can be started from the page, and what their jobs are called."""

COSTS = {
    "lds": "Trains 100 models, each on a random half of the training data.",
    "fading": "Trains on for 400 steps, 40 times: with a little more and a little less of each of 20 examples.",
    "mislabels": "Looks at the known label errors; without any it trains two models on planted ones.",
}
"""What each of them takes, with the numbers that studies take if not told otherwise."""

_STARTED = "studies asked for"
"""In the session: job id by project and study, for how it ended."""


def study_job(opened: Opened, study: str) -> Job | None:
    """The study under way, whoever started it, given a moment to end; else the last one of this session."""
    job = job_queue().active("study", project=opened.reference, study=study)
    if job is None:
        job_id = st.session_state.get(_STARTED, {}).get((opened.reference, study))
        job = None if job_id is None else job_queue().get(job_id)
    if job is not None:
        job.wait(PATIENCE)
    return job


def study_controls(opened: Opened, study: str, job: Job | None, *, again: bool, cost: str) -> None:
    """The button that starts a study, what it costs, and the progress of one under way.

    Args:
        cost: a sentence.
    """
    running = job is not None and not job.finished
    if may_change():
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.button(
                "Measure again" if again else "Measure",
                key=f"study-{study}",
                icon=":material/science:",
                on_click=start_study,
                args=(opened, study),
                disabled=running,
            )
            st.caption(cost, width="content")
    elif not again:
        st.caption("Not measured yet.")
    if job is not None and job.state != "done":
        show_progress(job, f"study-{study}")
        if not job.finished:
            redraw_when(lambda: job.finished)


@refusing
def start_study(opened: Opened, study: str) -> None:
    """Callback: have something measured in the background; explanations and fixes go on meanwhile."""
    check_may_change("measure on this project")
    shelf = engine_shelf()

    def work(reporter: Reporter) -> None:
        engine = shelf.get(opened, reporter.share(0.0, 0.02))
        _STUDIES[study](engine, reporter.share(0.02, 1.0))

    job = job_queue().submit(
        work,
        key=("study", opened.key, study),
        kind="study",
        title=TITLES[study],
        lane=VERIFICATION_LANE,
        subject={"project": opened.reference, "study": study},
        afresh=True,
    )
    st.session_state.setdefault(_STARTED, {})[opened.reference, study] = job.id


def _lds(engine: Any, reporter: Reporter) -> None:
    from attribution.studies.lds import lds_study

    lds_study(engine, reporter=reporter)


def _fading(engine: Any, reporter: Reporter) -> None:
    from attribution.studies.fading import fading_study

    fading_study(engine, reporter=reporter)


def _mislabels(engine: Any, reporter: Reporter) -> None:
    from attribution.studies.mislabels import mislabel_study

    mislabel_study(engine, reporter=reporter)


_STUDIES: Mapping[str, Callable[[Any, Reporter], None]] = {
    "lds": _lds,
    "fading": _fading,
    "mislabels": _mislabels,
}
