"""Trust: what was measured on this project's own model and data, and therefore which methods to believe here."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import streamlit as st

from attribution.errors import TracefixError
from attribution.methods import list_methods
from attribution.projects.lds_record import LdsRecord, read_lds
from attribution.projects.study_records import (
    CORRECTION,
    FADING,
    MISLABELS,
    CorrectionRecord,
    FadingRecord,
    MislabelRecord,
    StudyRecord,
    read_study,
)
from dashboard.chart import chart
from dashboard.components.table import table
from dashboard.current import Opened, current_project
from dashboard.heading import page_heading
from dashboard.messages import escaped, problem
from dashboard.study_panel import COSTS, study_controls, study_job
from dashboard.views.fading_figure import fading_figure
from dashboard.views.look import Look
from dashboard.views.studies import (
    CORRECTION_COLUMNS,
    DETECTOR_COLUMNS,
    LDS_COLUMNS,
    correction_rows,
    correction_sentence,
    detector_rows,
    fading_sentence,
    lds_rows,
    lds_sentence,
    mislabel_sentence,
)

_Record = TypeVar("_Record", bound=StudyRecord)


def main() -> None:
    """Draw the page."""
    opened = current_project()
    page_heading(opened, "Trust")
    st.markdown(
        "Attribution methods differ in how well they foretell what training does, and from one project to the next. "
        "Here is what was measured on this one; a measurement that was stopped goes on where it was."
    )
    fidelity(opened)
    fading(opened)
    label_errors(opened)
    corrections(opened)


def fidelity(opened: Opened) -> None:
    """The linear datamodeling score of each method."""
    st.header("Fidelity against retraining", anchor=False)
    job = study_job(opened, "lds")
    found = _read(lambda: read_lds(opened.project.directory, opened.project.prepared_from))
    if isinstance(found, LdsRecord) and found.methods:
        infos = {info.name: info for info in list_methods()}
        st.markdown(escaped(lds_sentence(found, _titles())))
        table("fidelity", LDS_COLUMNS, lds_rows(found, infos), caption="Fidelity of each method")
    study_controls(opened, "lds", job, again=found is not None, cost=COSTS["lds"])


def fading(opened: Opened) -> None:
    """For how long scores foretell what an example does."""
    st.header("How influence fades", anchor=False)
    job = study_job(opened, "fading")
    found = _study(opened, FADING, FadingRecord)
    if found is not None:
        sentence = fading_sentence(found, _titles())
        st.markdown(escaped(sentence))
        look = Look(dark=st.context.theme.type == "dark")
        chart(fading_figure(found, _titles(), look), key="fading", alt=sentence)
    study_controls(opened, "fading", job, again=found is not None, cost=COSTS["fading"])


def label_errors(opened: Opened) -> None:
    """How well wrong labels are told from right ones."""
    st.header("Finding wrong labels", anchor=False)
    job = study_job(opened, "mislabels")
    found = _study(opened, MISLABELS, MislabelRecord)
    if found is not None and found.detectors:
        st.markdown(escaped(mislabel_sentence(found)))
        table("detectors", DETECTOR_COLUMNS, detector_rows(found), caption="Detectors of label errors")
    study_controls(opened, "mislabels", job, again=found is not None, cost=COSTS["mislabels"])


def corrections(opened: Opened) -> None:
    """What fixes do, by strategy and choice of examples; measured on the command line, as it takes hours."""
    st.header("Correcting mispredictions", anchor=False)
    found = _study(opened, CORRECTION, CorrectionRecord)
    if found is not None:
        st.markdown(escaped(correction_sentence(found)))
        rows = correction_rows(found, _titles())
        table("corrections", CORRECTION_COLUMNS, rows, caption="Strategies and choices of examples")
    again = (
        "It is measured again by" if found is not None else "Not measured yet: it takes minutes to hours by"
    )
    place = shlex.quote(str(opened.project.directory))
    st.caption(f"{again} the command")
    st.code(f"tracefix study {place} correction", language="bash", wrap_lines=True)


def _titles() -> dict[str, str]:
    return {info.name: info.title for info in list_methods()}


def _study(opened: Opened, file: Path, kind: type[_Record]) -> _Record | None:
    return _read(lambda: read_study(file, kind, opened.project.directory, opened.project.prepared_from))


def _read(reading: Callable[[], _Record | None]) -> _Record | None:
    """A study; a damaged one is said, and counts as none."""
    try:
        return reading()
    except TracefixError as error:
        problem(str(error))
        return None


main()
