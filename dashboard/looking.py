"""What the model looked at, in the background: of the example in question and, where asked, of training examples."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import streamlit as st

from attribution.progress import Reporter
from dashboard.asked_cards import ask_or_not, asked_about
from dashboard.current import Opened
from dashboard.engines import LOOKING_LANE, engine_shelf, job_queue
from dashboard.explaining import Question
from dashboard.function_files import confirmed_functions
from dashboard.jobs import Job
from dashboard.tables import test_example
from dashboard.views.saliency import WAITING, looked_at, unavailable
from dashboard.waiting import redraw_when

if TYPE_CHECKING:
    from attribution.saliency import Saliency

HEAD_START = 5.0
"""Seconds at most for which culprits go first: a slow method need not keep the quick answer back."""

SWITCH = "looked at"
"""Key of the switch in the session's state."""

_LOOKS, _LATEST = "looks at training examples", "latest look"


def look_switch() -> bool:
    """Whether it is drawn over the example in question; it is, until somebody says otherwise."""
    return st.toggle("What the model looked at", value=True, key=SWITCH, persist_state="session")


def look_at_example(
    opened: Opened, question: Question, example: dict[str, Any], after: Job
) -> dict[str, Any]:
    """What to draw over the example in question: the answer, or that it is on its way.

    Args:
        after: the explanation, which is to come first.
    """
    job = _job(opened, question, "test", question.example_id, after)
    _leave_earlier(job)
    return _drawn(opened, example, job, str(example["input"]))


def looks_at_training(opened: Opened, question: Question) -> dict[str, dict[str, Any]]:
    """What to draw over the training examples that somebody wanted to look at, by id."""
    example = test_example(opened, question.example_id, question.base)
    found = {}
    for train_id in asked_about(_LOOKS, _about(opened, question)):
        text = str(opened.project.describe("train", [train_id])[0]["input"])
        found[train_id] = _drawn(opened, example, _job(opened, question, "train", train_id), text)
    return found


def look_or_not(opened: Opened, question: Question, train_id: str) -> None:
    """Callback: draw it over a training example, or no longer."""
    ask_or_not(_LOOKS, _about(opened, question), train_id)


def _about(opened: Opened, question: Question) -> Hashable:
    return question.measured(opened), question.base


def _drawn(opened: Opened, example: dict[str, Any], job: Job, text: str) -> dict[str, Any]:
    if job.state == "done":
        return looked_at(job.result, text, example)
    if job.finished:
        return unavailable(job.error or "")
    redraw_when(lambda: job.finished)
    return WAITING


def _job(opened: Opened, question: Question, split: str, example_id: str, after: Job | None = None) -> Job:
    shelf, confirmed = engine_shelf(), confirmed_functions()

    def work(reporter: Reporter) -> Saliency:
        _let_pass(after, reporter)
        engine = shelf.get(opened, reporter.share(0.0, 0.3))
        return engine.saliency(
            example_id,
            split=split,
            measurement=confirmed.runnable(opened.project, question.measurement),
            measured_for=question.example_id,
            base=question.base,
            reporter=reporter.share(0.3, 1.0),
        )

    def submitted(afresh: bool) -> Job:
        return job_queue().submit(
            work,
            key=("look", _about(opened, question), split, example_id),
            kind="look",
            title=f"Looking at {split} example {example_id}",
            lane=LOOKING_LANE,
            subject={"project": opened.reference, "example": question.example_id},
            afresh=afresh,
        )

    job = submitted(False)
    # Somebody else, or this session on another page, may have left it before it was done.
    return submitted(True) if job.state == "cancelled" else job


def _let_pass(job: Job | None, reporter: Reporter) -> None:
    """Wait until a job has something to show, for a while."""
    waited = 0.0
    while job is not None and not job.finished and job.interim.result is None and waited < HEAD_START:
        reporter(0.0, "Letting the culprits go first")
        job.wait(0.05)
        waited += 0.05


def _leave_earlier(job: Job) -> None:
    """Stop looking at what this session has left: quick steps from one example to the next pile up no work."""
    earlier = job_queue().get(st.session_state.get(_LATEST, ""))
    if earlier is not None and earlier is not job and not earlier.finished:
        job_queue().cancel(earlier)
    st.session_state[_LATEST] = job.id
