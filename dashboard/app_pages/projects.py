"""Projects: the landing page. Samples as cards, recent projects, how to open one's own, the device."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from attribution.errors import TracefixError
from attribution.projects import Project
from dashboard.components.table import Column, Row, table
from dashboard.current import stamp_of
from dashboard.engines import job_queue, processor, warmth
from dashboard.jobs import Job
from dashboard.locations import (
    ProjectEntry,
    list_projects,
    projects_directory,
    recent_projects,
    reference_to,
    remember,
)
from dashboard.messages import escaped, problem, way_out
from dashboard.permission import may_change
from dashboard.preparing import arrive, followed_job, prepare_and_follow
from dashboard.state import go, link
from dashboard.views.accuracy import percent
from dashboard.waiting import redraw_when, show_progress, while_running
from sample_models import SAMPLES, Sample


def device_badge() -> None:
    """What models run on; says so as soon as torch has been imported in the background."""
    device = warmth().device
    shown = device or processor()
    icon = ":material/memory:" if shown.accelerated else ":material/developer_board:"
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="device"):
        st.badge(shown.name, icon=icon, color="blue" if device else "gray")
        st.caption(shown.detail if device else f"{shown.detail} · looking for a GPU")


def open_directory(directory: str) -> None:
    """Callback: go to a prepared project's mispredictions."""
    remember(Path(directory))
    go("mispredictions", {"project": reference_to(Path(directory))})


def project_state(directory: Path) -> Project | None:
    """The project if it is there and prepared."""
    if stamp_of(directory) is None:
        return None
    try:
        project = Project.open(directory)
        return project if project.prepared else None
    except TracefixError:
        return None


def sample_card(sample: Sample, directory: Path, job: Job | None) -> None:
    """One sample: what it is, whether it is ready, and the button that opens it."""
    project = project_state(directory)
    with st.container(border=True, height="stretch", key=f"card-{sample.name}"):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.subheader(sample.title, anchor=False)
            if project is not None:
                st.badge("Prepared", icon=":material/check_circle:", color="blue")
            elif job is not None and not job.finished:
                st.badge("Preparing", icon=":material/hourglass_top:", color="orange")
            else:
                st.badge("Not prepared", icon=":material/radio_button_unchecked:", color="gray")
        st.markdown(sample.summary)
        if project is not None:
            facts = f"{percent(project.preparation['accuracy'])} of the test examples predicted right"
        else:
            facts = f"Preparing takes {sample.prepare_estimate}"
        st.caption(f"{sample.size}  \n{facts}")
        st.space("stretch")
        if job is not None and project is None:
            show_progress(job, sample.name)
        if project is not None:
            st.button(
                "Open",
                key=f"open-{sample.name}",
                type="primary",
                width="stretch",
                on_click=open_directory,
                args=(str(directory),),
            )
        elif job is None or job.finished:
            st.button(
                "Prepare and open",
                key=f"prepare-{sample.name}",
                type="primary",
                width="stretch",
                on_click=prepare_and_follow,
                args=(sample.name, sample.title),
                disabled=not may_change(),
            )


def shown_job(reference: str, followed: Job | None) -> Job | None:
    """The preparation to show on a project's card: the one this page follows, or one started elsewhere."""
    if followed is not None and followed.subject.get("project") == reference:
        return followed
    return job_queue().active("prepare", project=reference)


def sample_cards() -> None:
    """All samples; where one is ready that this page waited for, go on to its mispredictions."""
    followed = followed_job("preparation")
    if followed is not None and followed.state == "done":
        arrive(followed)
    with st.grid(3, min_column_width=270, gap="small"):
        for sample in SAMPLES.values():
            sample_card(sample, projects_directory() / sample.name, shown_job(sample.name, followed))
    if followed is not None and followed.subject.get("project") not in SAMPLES:
        st.markdown(f"**{escaped(followed.title)}**")
        show_progress(followed, "own")


def preparing() -> Job | None:
    """A preparation that is unfinished, if there is any."""
    return job_queue().active("prepare")


def recent_table(entries: list[ProjectEntry]) -> None:
    """Projects opened lately, or found in the projects folder."""
    rows = []
    for entry in entries:
        ready = entry.problem is None and project_state(entry.directory) is not None
        state = (
            ("Damaged", "culprit")
            if entry.problem
            else ("Prepared", "helper")
            if ready
            else ("Not prepared", "")
        )
        reference = reference_to(entry.directory)
        rows.append(
            Row(
                id=str(entry.directory),
                name=f"Open {entry.title}",
                href=link("mispredictions", {"project": reference}),
                cells={
                    "title": entry.title,
                    "state": {"text": state[0], "tone": state[1]},
                    "directory": str(entry.directory),
                    "when": (entry.opened or entry.modified).astimezone().strftime("%Y-%m-%d %H:%M"),
                },
            )
        )
    table(
        "recent-projects",
        [
            Column("title", "Project", "text", link=True),
            Column("state", "State", "chip"),
            Column("directory", "Directory", "muted", minor=True),
            Column("when", "Opened or changed", "muted", minor=True),
        ],
        rows,
        caption="Recent projects",
        on_open=open_directory,
    )


def listed_entries() -> list[ProjectEntry]:
    """Recent projects first, then others of the projects folder; samples have their cards."""
    try:
        found = [*recent_projects(), *list_projects(projects_directory())]
    except TracefixError as error:
        problem(str(error))
        found = recent_projects()
    samples = {projects_directory() / name for name in SAMPLES}
    unique = {entry.directory: entry for entry in reversed(found) if entry.directory not in samples}
    return list(reversed(unique.values()))


st.title("Which training examples made your model wrong?", anchor=False)
st.markdown(
    "Open a project, click a misprediction, see the training examples behind it, and preview a fix in a few "
    "fine-tuning steps."
)
badge_place = st.container()

st.header("Samples", anchor=False)
cards_place = st.container()

entries = listed_entries()
if entries:
    st.header("Recent projects", anchor=False)
    recent_table(entries)

st.header("Open your own", anchor=False)
st.markdown(
    "A transformers checkpoint with its tables, a Python function that returns a task, or a project folder."
)
way_out("Open your own", "open", key="open-own", icon=":material/upload_file:")
st.caption("On the command line:")
st.code(
    "tracefix new my-project --model model/ --train train.csv --test test.csv --text sentence --label label\n"
    "tracefix new my-project --task my_task.py:build\n"
    "tracefix prepare my-project",
    language="bash",
)

with cards_place:
    under_way = preparing()
    if under_way is not None:
        while_running(under_way, sample_cards)
    else:
        sample_cards()
with badge_place:
    device_badge()
if warmth().looking:
    redraw_when(lambda: not warmth().looking)
