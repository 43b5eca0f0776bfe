"""The project and example a page is about: taken from the URL and checked, or a message with a way out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from attribution.errors import NotFoundError, TracefixError
from attribution.projects import Project
from dashboard.checking import draw_check
from dashboard.locations import projects_directory, recent_projects, reference_to, resolve
from dashboard.messages import stop_with, way_out
from dashboard.permission import may_change
from dashboard.preparing import prepare_and_follow
from dashboard.state import forget, parameter, recall, unlisted
from dashboard.waiting import keep_waiting

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Opened:
    """A prepared project as the pages use it.

    Args:
        reference: what the URL calls it: the name of a project in the projects folder, else its directory.
        stamp: changes when it is prepared again; part of every cache key.
    """

    reference: str
    project: Project
    stamp: str

    @property
    def key(self) -> tuple[str, str]:
        """Directory and stamp: identifies the content for caches."""
        return str(self.project.directory), self.stamp


def stamp_of(directory: Path) -> str | None:
    """When the project was prepared and described last; None if it was not prepared."""
    try:
        prepared = (directory / "prepared" / "prepared.json").stat().st_mtime_ns
        return f"{prepared}-{(directory / 'project.json').stat().st_mtime_ns}"
    except OSError:
        return None


def known_directory(reference: str) -> Path:
    """The directory of a project that a URL may open: one in the projects folder, a sample, or opened here before.

    A project can contain code. Somebody else's link must not run code from any folder of this machine.

    Raises:
        NotFoundError: no such project, or none that was opened here before.
    """
    directory = resolve(reference, projects_directory(), prefer_named=True)
    if directory.parent == projects_directory():
        return directory
    if any(entry.directory == directory for entry in recent_projects()):
        return directory
    raise NotFoundError(
        f"The project '{directory}' was not opened on this machine before: run tracefix prepare {directory} once, "
        "then open this link again."
    )


def current_project() -> Opened:
    """The project of the URL (else of this session), prepared; otherwise a message, and the page ends here."""
    reference = recall("project")
    if reference is None:
        st.info("No project is open yet.", icon=":material/folder_open:")
        way_out("Choose a project", "projects", key="exit-no-project")
        st.stop()
    try:
        directory = known_directory(reference)
        stamp = stamp_of(directory)
        project = _load(str(directory), stamp)
        prepared = stamp is not None and _is_prepared(str(directory), stamp)
    except TracefixError as error:
        forget("project")
        stop_with(str(error), title="This project cannot be opened")
    if not prepared or stamp is None:
        st.info(
            "Its predictions and gradient index are missing, incomplete, or older than its model and data.",
            title="This project is not prepared",
            icon=":material/pending:",
        )
        st.button(
            "Prepare it now",
            key="exit-prepare",
            type="primary",
            icon=":material/play_arrow:",
            on_click=prepare_and_follow,
            args=(reference_to(directory), project.title),
            disabled=not may_change(),
        )
        way_out("All projects", "projects", key="exit-projects")
        if may_change() and not draw_check(directory, project.title):
            keep_waiting()  # and draws the page anew
        st.stop()
    return Opened(reference, project, stamp)


def current_example(opened: Opened) -> str:
    """The test example of the URL (else of this session); otherwise a message, and the page ends here."""
    if parameter("project") is not None and st.session_state.get("example of") != opened.reference:
        if parameter("example") is None:
            forget("example")
        st.session_state["example of"] = opened.reference
    example_id = recall("example")
    here: dict[str, str | None] = {"project": opened.reference}
    if example_id is None:
        st.info("Choose a misprediction first.", icon=":material/touch_app:")
        way_out("Mispredictions", "mispredictions", here, key="exit-no-example")
        st.stop()
    try:
        opened.project.position("test", example_id)
    except TracefixError as error:
        forget("example")
        stop_with(
            str(error),
            title="There is no such example",
            exits=lambda: way_out("Mispredictions", "mispredictions", here, key="exit-example"),
        )
    return example_id


MOST_TOGETHER = 50
"""Mispredictions that are explained and fixed together at most: more of them say little of any one."""


def current_group(opened: Opened, predictions: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The mispredictions that the URL (else this session) puts together, and a sentence about each thing left out.

    Where there are none: a message, and the page ends here.

    Args:
        predictions: of the test set, by the model whose mispredictions they are.
    """
    if parameter("project") is not None and st.session_state.get("examples of") != opened.reference:
        if parameter("examples") is None:
            forget("examples")
        st.session_state["examples of"] = opened.reference
    asked = unlisted(recall("examples"))
    known = [one for one in asked if one in predictions.index]
    wrong = [one for one in known if predictions.loc[one, "label"] != predictions.loc[one, "predicted"]]
    complaints = []
    if len(known) < len(asked):
        complaints.append(f"{_counted(len(asked) - len(known))} not in this project and left out.")
    if len(wrong) < len(known):
        complaints.append(f"{_counted(len(known) - len(wrong))} predicted right and left out.")
    if len(wrong) > MOST_TOGETHER:
        complaints.append(
            f"At most {MOST_TOGETHER} can be fixed together: these are the first of {len(wrong):,}. Choose fewer."
        )
    if not wrong:
        forget("examples")
        for complaint in complaints:
            st.warning(complaint, icon=":material/info:")
        st.info("Choose several mispredictions first.", icon=":material/checklist:")
        way_out("Mispredictions", "mispredictions", {"project": opened.reference}, key="exit-no-examples")
        st.stop()
    return wrong[:MOST_TOGETHER], complaints


def _counted(count: int) -> str:
    return f"{count} of the examples {'is' if count == 1 else 'are'}"


@st.cache_resource(max_entries=8, show_spinner=False)
def _load(directory: str, stamp: str | None) -> Project:
    """The project with its tables kept in memory, shared by all sessions; read only."""
    del stamp
    return Project.open(directory)


@st.cache_data(max_entries=64, ttl=30, show_spinner=False)
def _is_prepared(directory: str, stamp: str) -> bool:
    del stamp
    return Project.open(directory).prepared
