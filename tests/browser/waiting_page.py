"""A page that shows something that can be kept, and then waits for slow work of the kind that its link asks for."""

from __future__ import annotations

import threading
import time

import streamlit as st

from attribution.progress import Reporter
from dashboard.engines import job_queue
from dashboard.waiting import clear_places, keep_waiting, show_progress, start_anew, while_running

SECONDS = {"endless": 600.0, "short": 4.0, "failing": 2.0}


def begin() -> None:
    st.session_state["begun"] = True


def work(reporter: Reporter) -> None:
    started = time.monotonic()
    while time.monotonic() < started + SECONDS[kind]:
        reporter((time.monotonic() - started) / SECONDS[kind], "Working")
        time.sleep(0.02)
    if kind == "failing":
        raise ValueError("on purpose")


def draw() -> None:
    if job.finished and job.state == "done":
        st.text("Done")
    else:
        show_progress(job, "work")


start_anew()
kind = st.query_params["kind"]
begun = st.session_state.get("begun") or "begun" in st.query_params
st.session_state["drawn"] = st.session_state.get("drawn", 0) + 1
st.text(f"Drawn {st.session_state['drawn']} times")
time.sleep(0.6)  # by then the run that this one took over from has ended
waiting = sum("ScriptRunner" in thread.name for thread in threading.enumerate()) - 1
st.text(f"{waiting} others are being drawn")
with st.container(horizontal=True):
    st.button("Look again")
    if begun:
        clear_places(1)
    else:
        st.button("Keep")
if begun:
    job = job_queue().submit(work, key=kind, kind="work", title="Work", lane=kind)
    while_running(job, draw)
else:
    st.button("Begin", on_click=begin)
    for number in range(10):
        st.text(f"Result {number}")
keep_waiting()
