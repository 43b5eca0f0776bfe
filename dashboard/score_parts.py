"""Why a training example has its score: its parts by layer and by word, where somebody asks for them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from attribution.progress import Reporter
from dashboard.asked_cards import ask_or_not, asked_about
from dashboard.current import Opened
from dashboard.engines import WORK_LANE, engine_shelf, job_queue
from dashboard.explaining import Question
from dashboard.function_files import confirmed_functions
from dashboard.jobs import Job
from dashboard.views.score_parts import score_parts
from dashboard.waiting import redraw_when

if TYPE_CHECKING:
    from attribution.breakdown import Breakdown

_WHYS = "training examples asked why"


def score_parts_asked(opened: Opened, question: Question) -> dict[str, dict[str, Any]]:
    """What cards say of the parts of their scores, by id of those that somebody asked about."""
    found = {}
    for train_id in asked_about(_WHYS, _about(opened, question)):
        job = _job(opened, question, train_id)
        if job.state == "done":
            text = str(opened.project.describe("train", [train_id])[0]["input"])
            found[train_id] = score_parts(job.result, text)
        elif job.finished:
            found[train_id] = {"sentences": [job.error or ""], "layers": []}
        else:
            redraw_when(lambda job=job: job.finished)  # type: ignore[misc]
            found[train_id] = {"sentences": ["Taking the score apart …"], "layers": []}
    return found


def why_or_not(opened: Opened, question: Question, train_id: str) -> None:
    """Callback: take the score of a training example apart, or no longer."""
    ask_or_not(_WHYS, _about(opened, question), train_id)


def _about(opened: Opened, question: Question) -> Hashable:
    return question.measured(opened), question.method


def _job(opened: Opened, question: Question, train_id: str) -> Job:
    shelf, confirmed = engine_shelf(), confirmed_functions()

    def work(reporter: Reporter) -> Breakdown:
        engine = shelf.get(opened, reporter.share(0.0, 0.3))
        return engine.breakdown(
            question.example_id,
            train_id,
            method=question.method,
            measurement=confirmed.runnable(opened.project, question.measurement),
        )

    return job_queue().submit(
        work,
        key=("why", _about(opened, question), train_id),
        kind="why",
        title=f"Taking the score of {train_id} apart",
        lane=WORK_LANE,
        subject={"project": opened.reference, "example": question.example_id},
    )
