"""Story mode: one fix, read only, as a page for people who see it for the first time.

It is the report itself in a frame, so that it says the same, word for word, as what is mailed.
"""

from __future__ import annotations

import streamlit as st

from attribution.progress import Reporter
from attribution.projects import FixRecord
from dashboard.components.document import document
from dashboard.current import Opened
from dashboard.downloads import downloads
from dashboard.engines import WORK_LANE, engine_shelf, job_queue
from dashboard.jobs import Job
from dashboard.messages import problem, way_out
from dashboard.state import parameter
from dashboard.waiting import PATIENCE, clear_places, redraw_when, show_progress

STORY = "story"


def story_wanted() -> bool:
    """Whether the URL asks for the story of a fix, without navigation and tools around it."""
    return parameter("view") == STORY


def story_parameters(opened: Opened, fix_id: str) -> dict[str, str | None]:
    """What the URL of a fix's story says."""
    return {"project": opened.reference, "fix": fix_id, "view": STORY}


def draw_story(opened: Opened, fix: FixRecord) -> None:
    """The whole page of a fix as a story."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        way_out(
            "Open the fix",
            "preview",
            {"project": opened.reference, "fix": fix.fix_id},
            key="leave-story",
            icon=":material/arrow_back:",
        )
        downloads(opened, fix, kinds=("report",))
    job = _job(opened, fix)
    job.wait(PATIENCE)
    if not job.finished:
        st.subheader("Telling this fix as a story", anchor=False)
        show_progress(job, STORY)
        redraw_when(lambda: job.finished)
    elif job.state == "done":
        clear_places(3)  # the heading and the progress of the wait before
        document("story", job.result, title=f"The story of {fix.fix_id}")
    else:
        problem(job.error or "", title="This story could not be told")
        st.button("Try again", key="story-again", on_click=_tell_again, args=(opened, fix))


def _tell_again(opened: Opened, fix: FixRecord) -> None:
    """Callback: try once more."""
    _job(opened, fix, afresh=True)


def _job(opened: Opened, fix: FixRecord, *, afresh: bool = False) -> Job:
    shelf = engine_shelf()
    verified = opened.project.history.verification(fix.fix_id)

    def work(reporter: Reporter) -> str:
        from dashboard.report import report_of

        engine = shelf.get(opened, reporter.share(0.0, 0.2))
        return report_of(engine, fix, reporter=reporter.share(0.2, 1.0))

    return job_queue().submit(
        work,
        key=(STORY, opened.key, fix.fix_id, fix.note, None if verified is None else verified.created),
        kind=STORY,
        title=f"The story of {fix.fix_id}",
        lane=WORK_LANE,
        subject={"project": opened.reference, "fix": fix.fix_id},
        afresh=afresh,
    )
