"""Open your own: a transformers checkpoint with its tables, a Python task file, or a project that is there already."""

from __future__ import annotations

from typing import cast

import streamlit as st

from attribution.progress import Reporter
from attribution.projects import Project, TaskSource
from attribution.projects.access import check_may_change
from dashboard.engines import PREPARATION_LANE, job_queue
from dashboard.folder_browser import folder_browser
from dashboard.jobs import Job
from dashboard.locations import reference_to, remember
from dashboard.messages import escaped, problem, way_out
from dashboard.open_tables import tables_form
from dashboard.open_task import task_form
from dashboard.own_drafts import Draft, TaskDraft, open_draft, own_project
from dashboard.own_fields import complain, forget_complaint, keep, key_of, looked_up, restore, set_default
from dashboard.permission import may_change, refusing, writing_refused
from dashboard.preparing import arrive, followed_job, prepare_and_follow
from dashboard.state import go, set_parameters
from dashboard.waiting import show_progress, while_running

WAYS = {"model": "Model and tables", "task": "Python task file", "project": "Project folder"}


@refusing
def start(draft: Draft) -> None:
    """Callback: make and prepare the project in the background; its job is in the URL from then on."""
    check_may_change("open a project of your own")

    def work(reporter: Reporter) -> str:
        return open_draft(draft, reporter)

    job = job_queue().submit(
        work,
        key=("open", draft),
        kind="prepare",
        title=f"Opening {draft.directory.name}",
        lane=PREPARATION_LANE,
        subject={"project": reference_to(draft.directory)},
        afresh=True,
    )
    set_parameters(job=job.id)


def opening(job: Job) -> None:
    """The progress of an opening."""
    st.markdown(f"**{escaped(job.title)}**")
    show_progress(job, "own")


def say_how_it_ended(job: Job) -> None:
    """Why the last opening did not succeed, beside the field that is to blame if there is one."""
    forget_complaint()
    if job.state == "cancelled":
        st.info("Cancelled: no project was made. What you filled in is still here.", icon=":material/cancel:")
    elif job.state == "failed":
        draft: Draft = cast(tuple[str, Draft], job.key)[1]
        field = draft.blamed(job.error or "")
        if field is None:
            problem(job.error or "", title="It could not be opened")
        else:
            complain(*field, job.error or "")
            problem("What is wrong is said beside its field below.", title="It could not be opened")


def finish(draft: Draft | None, missing: list[str]) -> None:
    """The command that does the same, and the button; or what is still missing."""
    refused = None if draft is None else writing_refused(draft.directory)
    if draft is not None:
        st.caption("The same on the command line:")
        st.code(draft.command(), language="bash", wrap_lines=True)
        if refused is not None:
            problem(refused)
    runs = isinstance(draft, TaskDraft)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Run it and open" if runs else "Check and open",
            key="own-open",
            type="primary",
            icon=":material/play_arrow:",
            disabled=draft is None or refused is not None,
            on_click=start,
            args=(draft,),
        )
        if missing:
            st.caption(f"Still needed: {', '.join(missing)}.", width="content")


def project_form() -> None:
    """A project that exists: open it, or prepare it first."""
    st.header("Project folder", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Folder of a project", key=key_of("folder"), placeholder="It holds a project.json")
        folder_browser(key_of("folder"), "Folder of a project")
    project = looked_up("folder", own_project)
    if project is not None:
        st.markdown(f"**{escaped(project.title)}** {escaped(project.summary)}")
        source = project.manifest.source
        if isinstance(source, TaskSource):
            st.markdown(
                ":material/shield_question: **Opening it runs its task file with your rights**: do so only if you know "
                "what it does."
            )
            st.code(f"{project.resolve(source.file)}:{source.function}", language=None, wrap_lines=True)
    prepared = project is not None and project.prepared
    st.button(
        "Open" if project is None or prepared else "Prepare and open",
        key="own-open-folder",
        type="primary",
        icon=":material/play_arrow:",
        disabled=project is None,
        on_click=open_folder,
        args=(project, prepared),
    )


@refusing
def open_folder(project: Project, prepared: bool) -> None:
    """Callback: from now on links may name this project; go on to it."""
    check_may_change("open a project of your own")
    remember(project.directory)
    if prepared:
        go("mispredictions", {"project": reference_to(project.directory)})
    else:
        prepare_and_follow(str(project.directory), project.title)


def form() -> None:
    """The form of the chosen way."""
    restore()
    set_default("way", "model", list(WAYS))
    st.segmented_control(
        "What do you have?", list(WAYS), format_func=WAYS.__getitem__, key=key_of("way"), required=True
    )
    way = st.session_state[key_of("way")]
    try:
        if way == "project":
            project_form()
        else:
            finish(*(task_form() if way == "task" else tables_form()))
    finally:
        keep()


st.title("Open your own", anchor=False)
if (
    not may_change()
):  # neither its form, which shows folders of this machine and runs files, nor what others open
    st.info("This dashboard is read-only for you: choose one of its projects.", icon=":material/visibility:")
    way_out("All projects", "projects", key="exit-read-only")
    st.stop()
st.markdown(
    "Everything stays on this machine: paths are those of the machine that Tracefix runs on, and your files are only "
    "read."
)
job = followed_job("opening")
if job is not None and not job.finished:
    current = job
    while_running(current, lambda: opening(current))
else:
    with st.container(key="how-it-ended"):
        if job is not None and job.state == "done":
            set_parameters(job=None)
            arrive(job)
        elif job is not None:
            say_how_it_ended(job)
    form()
