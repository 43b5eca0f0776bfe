"""The check of a project that is not prepared yet: in the background, and as a table on its page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from attribution.errors import TracefixError
from attribution.progress import Reporter
from attribution.projects import Project
from dashboard.components.table import Column, Row, table
from dashboard.engines import CHECKING_LANE, job_queue
from dashboard.jobs import Job
from dashboard.waiting import redraw_when, show_progress, wait_for_something

if TYPE_CHECKING:
    from attribution.checking import CheckReport

PATIENCE = 20.0
"""Seconds for which the inputs of a task's split are compared at most while somebody waits."""

CHIPS = {
    "ok": {"text": "OK", "tone": "helper"},
    "note": {"text": "Note", "tone": ""},
    "warning": {"text": "Warning", "tone": "culprit"},
    "problem": {"text": "Problem", "tone": "culprit"},
}
"""How a severity is drawn: by word and colour."""


def check_job(directory: Path, title: str) -> Job:
    """The job that checks a project as it is described now; its result is a `CheckReport`."""
    changed = tuple(file.stat().st_mtime_ns for file in _files(directory))

    def work(reporter: Reporter) -> CheckReport:
        from attribution.checking import check_project

        return check_project(Project.open(directory), patience=PATIENCE, reporter=reporter)

    return job_queue().submit(
        work,
        key=("check", str(directory), changed),
        kind="check",
        title=f"Checking {title}",
        lane=CHECKING_LANE,
    )


def _files(directory: Path) -> list[Path]:
    """What a project is made of, as far as it is there: with a change of it the check is out of date."""
    try:
        found = list(Project.open(directory).source_files().values())
    except TracefixError:
        found = []
    return [directory / "project.json", *found]


def draw_check(directory: Path, title: str) -> bool:
    """What the check found, or how far it is; True when there is no more to wait for."""
    job = check_job(directory, title)
    wait_for_something(job)
    st.subheader("Before it is prepared", anchor=False)
    if job.state != "done":
        show_progress(job, "check")
        if not job.finished:
            redraw_when(lambda: job.finished)
        return job.finished
    report: CheckReport = job.result
    st.text(report.verdict)
    table(
        "findings",
        [
            Column("severity", "", "chip"),
            Column("about", "About", "word"),
            Column("found", "What was found", "text"),
            Column("remedy", "What to do", "muted", minor=True),
        ],
        [
            Row(
                id=f"{number}",
                name=finding.name,
                cells={
                    "severity": CHIPS[finding.severity],
                    "about": finding.name,
                    "found": finding.sentence,
                    "remedy": finding.remedy,
                },
            )
            for number, finding in enumerate(report.findings)
        ],
        caption="What a check of the project found",
    )
    return True
