"""Working on top of an earlier fix: which one the URL names, what its model predicts, and the bar that says so."""

from __future__ import annotations

import threading
from collections import OrderedDict

import pandas as pd
import streamlit as st

from attribution.errors import TracefixError
from attribution.progress import Reporter
from attribution.projects import FixRecord
from dashboard.current import Opened
from dashboard.engines import WORK_LANE, engine_shelf, job_queue
from dashboard.jobs import Job
from dashboard.messages import escaped, stop_with, way_out
from dashboard.state import go, parameter, set_parameters
from dashboard.views.stacks import bar_sentence
from dashboard.waiting import keep_waiting, redraw_when, show_progress, wait_for_something

MOST_TABLES = 8
"""Tables of predictions kept in memory; making one takes a replay of the fixes."""

_UNDONE = "fixes beneath that were undone"


class PredictionShelf:
    """What models with fixes predict for the test set, by project and fix."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: OrderedDict[tuple[tuple[str, str], str], pd.DataFrame] = OrderedDict()

    def get(self, opened: Opened, base: str) -> pd.DataFrame | None:
        """The table, not to be changed in place; None if it has to be made first."""
        with self._lock:
            found = self._tables.get((opened.key, base))
            if found is not None:
                self._tables.move_to_end((opened.key, base))
            return found

    def put(self, opened: Opened, base: str, table: pd.DataFrame) -> None:
        """Keep a table."""
        with self._lock:
            self._tables[opened.key, base] = table
            while len(self._tables) > MOST_TABLES:
                self._tables.popitem(last=False)


@st.cache_resource(show_spinner=False)
def prediction_shelf() -> PredictionShelf:
    """The server's tables."""
    return PredictionShelf()


def predictions_of(opened: Opened, base: str | None) -> pd.DataFrame:
    """Predictions of the test set by the original model, or with the fix ``base``; waits where they are not there yet.

    A page that has to wait shows the progress and ends here.
    """
    if base is None:
        return opened.project.predictions("test")
    found = prediction_shelf().get(opened, base)
    if found is not None:
        return found
    job = _predictions_job(opened, base)
    wait_for_something(job)
    if job.state in ("failed", "cancelled"):
        stop_with(
            job.error or "",
            title="The model with the earlier fixes cannot be made again",
            exits=lambda: _again_or_without(opened, base),
        )
    if not job.finished:
        st.subheader("Making the model with the earlier fixes again", anchor=False)
        show_progress(job, "base")
        redraw_when(lambda: job.finished)
        keep_waiting()  # and draws the page anew
    made: pd.DataFrame = job.result
    return made


def _again_or_without(opened: Opened, base: str) -> None:
    st.button(
        "Try again",
        key="base-again",
        on_click=_again,
        args=(opened, base),
    )
    _without_base(opened)


def _again(opened: Opened, base: str) -> None:
    _predictions_job(opened, base, afresh=True)


def _without_base(opened: Opened) -> None:
    way_out(
        "Mispredictions of the original model",
        "mispredictions",
        {"project": opened.reference},
        key="exit-base",
    )


def _predictions_job(opened: Opened, base: str, *, afresh: bool = False) -> Job:
    shelf, tables = engine_shelf(), prediction_shelf()

    def work(reporter: Reporter) -> pd.DataFrame:
        engine = shelf.get(opened, reporter.share(0.0, 0.2))
        table = engine.predictions(base, reporter=reporter.share(0.2, 1.0))
        tables.put(opened, base, table)
        return table

    return job_queue().submit(
        work,
        key=("predictions", opened.key, base),
        kind="predictions",
        title=f"Making the model with {base} again",
        lane=WORK_LANE,
        subject={"project": opened.reference, "base": base},
        afresh=afresh,
    )


def base_of_url(opened: Opened) -> list[FixRecord]:
    """The fix that the URL names as base, with those beneath it, the first one first; empty without one.

    Of a fix that is not there the page says so and ends.
    """
    base = parameter("base")
    if base is None:
        return []
    try:
        return opened.project.history.stack(base)
    except TracefixError as error:
        stop_with(
            str(error),
            title="The fix beneath is not here",
            exits=lambda: _without_base(opened),
        )


def go_on_top(opened: Opened, fix_id: str) -> None:
    """Callback: to what the model with this fix gets wrong. What was undone before cannot be redone."""
    st.session_state.pop(_UNDONE, None)
    go("mispredictions", {"project": opened.reference, "base": fix_id})


def stack_bar(opened: Opened, stack: list[FixRecord]) -> None:
    """Says on top of which fixes one is, with the way back to the fix before, and forward again."""
    redoable = _redoable(opened, stack)
    if not stack and redoable is None:
        return
    with st.container(
        border=True, horizontal=True, vertical_alignment="center", gap="small", key="stack-bar"
    ):
        st.markdown(f":material/layers: {escaped(bar_sentence(stack))}", width="content")
        if stack:
            st.button(
                "Undo",
                key="stack-undo",
                icon=":material/undo:",
                help="Back to the fix before, or to the original model.",
                on_click=_undo,
                args=(opened, stack),
            )
        if redoable is not None:
            st.button(
                "Redo", key="stack-redo", icon=":material/redo:", on_click=_redo, args=(opened, redoable)
            )
        if len(stack) > 1:
            st.button(
                "Original model",
                key="stack-leave",
                icon=":material/close:",
                on_click=set_parameters,
                kwargs={"base": None, "page": None},
            )


def _undone(opened: Opened) -> list[str]:
    """Ids of the fixes that were undone, the last one last."""
    reference, ids = st.session_state.setdefault(_UNDONE, (opened.reference, []))
    if reference != opened.reference:
        st.session_state[_UNDONE] = (opened.reference, ids := [])
    found: list[str] = ids
    return found


def _redoable(opened: Opened, stack: list[FixRecord]) -> str | None:
    """The fix that was undone last, if it stands on the one that is on top now."""
    undone = _undone(opened)
    if not undone:
        return None
    try:
        beneath = opened.project.history.stack(undone[-1])[:-1]
    except TracefixError:
        return None
    return undone[-1] if [f.fix_id for f in beneath] == [f.fix_id for f in stack] else None


def _undo(opened: Opened, stack: list[FixRecord]) -> None:
    _undone(opened).append(stack[-1].fix_id)
    set_parameters(base=stack[-1].base, page=None)


def _redo(opened: Opened, fix_id: str) -> None:
    _undone(opened).pop()
    set_parameters(base=fix_id, page=None)
