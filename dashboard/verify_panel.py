"""Verifying a fix on the preview page: training again with its edits, in the background, and what came of it."""

from __future__ import annotations

import plotly.graph_objects as plotly
import streamlit as st

from attribution.progress import Reporter
from attribution.projects import FixRecord, VerificationRecord
from attribution.projects.access import check_may_change
from dashboard.chart import chart
from dashboard.current import Opened
from dashboard.engines import VERIFICATION_LANE, engine_shelf, job_queue
from dashboard.jobs import Job
from dashboard.messages import escaped
from dashboard.permission import may_change, refusing
from dashboard.views.verification import (
    cost_sentence,
    outcome_sentence,
    spread_sentence,
    training_sentence,
    verdict,
)
from dashboard.views.verification_figure import verification_figure
from dashboard.waiting import PATIENCE, redraw_when, show_progress

SEEDS = (3, 5, 10)
"""How many one can ask for."""

_STARTED = "verifications asked for"
"""In the session: job id by fix, for how it ended."""


def verify_section(opened: Opened, fix: FixRecord) -> None:
    """What retraining says about a fix, or the way to find out."""
    st.header("Verify", anchor=False)
    if not fix.edits:
        st.caption(
            "This fix trained on the test example itself: it edits no training data to train again with."
        )
        return
    job = _job(opened, fix)
    if job is not None:
        job.wait(PATIENCE)
    record = opened.project.history.verification(fix.fix_id)
    if record is not None:
        _draw(record)
    if may_change():
        _ask(opened, fix, again=record is not None, running=job is not None and not job.finished)
    elif record is None:
        st.caption("Not verified yet.")
    if job is not None and job.state != "done":
        show_progress(job, "verify")
        if not job.finished:
            redraw_when(lambda: job.finished)


@refusing
def start_verification(opened: Opened, fix_id: str) -> None:
    """Callback: have models trained, in the background; explanations and fixes go on meanwhile."""
    check_may_change("verify this fix")
    seeds = int(st.session_state.get("seeds", SEEDS[0]))
    shelf = engine_shelf()

    def work(reporter: Reporter) -> None:
        engine = shelf.get(opened, reporter.share(0.0, 0.02))
        engine.verify(fix_id, seeds=seeds, reporter=reporter.share(0.02, 1.0))

    job = job_queue().submit(
        work,
        key=("verify", opened.key, fix_id),
        kind="verify",
        title=f"Verifying {fix_id}",
        lane=VERIFICATION_LANE,
        subject={"project": opened.reference, "fix": fix_id},
        afresh=True,
    )
    st.session_state.setdefault(_STARTED, {})[fix_id] = job.id


def _job(opened: Opened, fix: FixRecord) -> Job | None:
    """The verification under way, whoever started it; else the last one of this session."""
    active = job_queue().active("verify", project=opened.reference, fix=fix.fix_id)
    if active is not None:
        return active
    job_id = st.session_state.get(_STARTED, {}).get(fix.fix_id)
    return None if job_id is None else job_queue().get(job_id)


def _ask(opened: Opened, fix: FixRecord, *, again: bool, running: bool) -> None:
    """The button, how many seeds, and what it will cost."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.button(
            "Verify again" if again else "Verify by retraining",
            key="verify",
            icon=":material/model_training:",
            on_click=start_verification,
            args=(opened, fix.fix_id),
            disabled=running,
        )
        seeds = st.selectbox(
            "Seeds",
            SEEDS,
            key="seeds",
            width=110,
            disabled=running,
            help="More of them tell a small effect from chance.",
        )
    history = opened.project.history
    st.caption(cost_sentence(seeds, opened.project.manifest.training.steps, history.verification()))


def _draw(record: VerificationRecord) -> None:
    """The verdict, and predicted beside actual change."""
    st.markdown(f"**{escaped(verdict(record))}** {escaped(outcome_sentence(record))}")
    chart(
        _figure(record, record.fix_id, f"{record.created} {record.seconds}"),
        key="verification",
        alt=f"Predicted change of the margin beside that of each retrained model. {verdict(record)}",
    )
    said = [training_sentence(record), spread_sentence(record)]
    st.caption(
        "The margin is log p(predicted) − log p(true): edits that work make it fall. "
        + escaped(" ".join(sentence for sentence in said if sentence is not None))
    )


@st.cache_data(show_spinner=False, max_entries=64)
def _figure(_record: VerificationRecord, fix_id: str, created: str) -> plotly.Figure:
    """The figure of a verification, which never changes."""
    del fix_id, created
    return verification_figure(_record)
