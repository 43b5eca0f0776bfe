"""Compare: several methods on one prediction, how far they agree, and what each lists first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from attribution.errors import TracefixError
from attribution.methods import ProjectFacts, availability, default_method, families, list_methods
from attribution.projects.lds_record import LdsRecord, read_lds
from dashboard.cards import cards
from dashboard.chart import chart
from dashboard.components.influence import CardColumn, influence
from dashboard.components.table import table
from dashboard.current import Opened, current_example, current_project
from dashboard.ensemble_switch import ensemble_switch
from dashboard.explaining import Question, comparison_job, question_of
from dashboard.heading import page_heading
from dashboard.jobs import Job
from dashboard.measurement_switch import confirmation, measurement_switch
from dashboard.messages import escaped, problem, way_out
from dashboard.stacking import base_of_url, stack_bar
from dashboard.state import parameter, set_parameters
from dashboard.tables import test_example
from dashboard.tray_panel import draw_tray, tray_of
from dashboard.views.agreement import agreement_heatmap
from dashboard.views.measurements import subtitles
from dashboard.views.method_rows import COLUMNS, method_rows, study_words
from dashboard.waiting import follow, show_progress

if TYPE_CHECKING:
    from attribution.comparison import Comparison

USUAL = ("path", "ekfac", "tracin", "grad_dot", "representation")
MOST = 6
LISTED = 5

MATRIX_WIDTH = 330
"""CSS pixels below which the numbers of two matrices side by side would run into each other."""


def chosen_methods(opened: Opened) -> list[str]:
    """The methods that the URL names and that can run here, else the usual ones."""
    possible = [name for name, reason in availability(opened.project).items() if reason is None]
    asked = [name for name in (parameter("methods") or "").split(",") if name in possible]
    usual = [name for name in USUAL if name in possible] or [default_method(ProjectFacts.of(opened.project))]
    return (asked or usual)[:MOST]


def methods_changed() -> None:
    """Callback of the choice."""
    set_parameters(methods=",".join(st.session_state.get("compared methods") or []))


def method_choice(opened: Opened) -> list[str]:
    """Which methods are compared."""
    reasons = availability(opened.project)
    titles = {info.name: info.title for info in list_methods()}
    possible = [info.name for infos in families().values() for info in infos if reasons[info.name] is None]
    chosen = chosen_methods(opened)
    st.session_state["compared methods"] = chosen
    st.multiselect(
        f"Methods, at most {MOST}",
        possible,
        key="compared methods",
        format_func=lambda name: titles[name],
        max_selections=MOST,
        on_change=methods_changed,
    )
    return chosen


def study_of(opened: Opened) -> LdsRecord | None:
    """The project's LDS study; a damaged one is said, and counts as none."""
    try:
        return read_lds(opened.project.directory, opened.project.prepared_from)
    except TracefixError as error:
        problem(str(error))
        return None


def draw_comparison(opened: Opened, question: Question, comparison: Comparison) -> None:
    """What is known about each method, the two matrices, then each method's first culprits."""
    infos = {info.name: info for info in list_methods()}
    titles = [infos[name].title for name in comparison.methods]
    study = study_of(opened)
    table(
        "methods",
        COLUMNS,
        method_rows(infos, comparison.explanations, study, availability(opened.project)),
        caption="What is known about each method",
    )
    st.caption(
        f"{escaped(study_words(study))} Calibrated: a score says by how much, not only which example comes first."
    )
    matrices = (
        (comparison.agreement, "Rank correlation of all scores", False),
        (comparison.overlap, "Shared among the 20 strongest", True),
    )
    dark = st.context.theme.type == "dark"
    with st.grid(len(matrices), min_column_width=MATRIX_WIDTH):
        for values, title, percent in matrices:
            with st.container():  # one cell of the grid for the figure and its button
                chart(
                    agreement_heatmap(titles, values, title=title, percent=percent, dark=dark),
                    key=title,
                    alt=f"{title}, for each pair of methods, as a table of numbers",
                )
    st.caption(
        "Methods that agree are not therefore right: look for the one whose fidelity was measured, and read its list."
    )
    about, _ = subtitles(comparison.explanations[0].example, question.measurement)
    st.subheader(f"The first {LISTED} culprits of each", anchor=False)
    st.caption(escaped(about))
    tray = tray_of(opened, question)
    columns = [
        CardColumn(
            "culprits",
            title,
            infos[explanation.method].one_line,
            cards(explanation.culprits(LISTED), opened.project.class_names),
            "No training example pushed this way.",
        )
        for title, explanation in zip(titles, comparison.explanations, strict=True)
    ]
    influence(
        "compared",
        columns,
        kind=opened.project.kind,
        classes=opened.project.class_names,
        chosen={edit.train_id: (edit.action, edit.label) for edit in tray.edits},
        reveal=False,
        on_choose=tray.set,
        own_scales=True,
    )


def compare_again(opened: Opened, question: Question, methods: list[str]) -> None:
    """Callback: start the comparison anew."""
    comparison_job(opened, question, methods, afresh=True)


def comparison(opened: Opened, question: Question, methods: list[str], job: Job) -> None:
    """The comparison as far as it is: progress, result, or what went wrong."""
    if not job.finished:
        show_progress(job, "comparison")
    elif job.state == "done":
        draw_comparison(opened, question, job.result)
    else:
        problem(job.error or "", title="This comparison ended early")
        st.button("Try again", key="compare-again", on_click=compare_again, args=(opened, question, methods))


opened = current_project()
example_id = current_example(opened)
beneath = base_of_url(opened)
question, complaints = question_of(opened, example_id)
example = test_example(opened, example_id, question.base)
draw_tray(opened, question, fixable=example["true"] != example["predicted"])
with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
    with st.container(width="content", gap="xxsmall"):
        page_heading(opened, "Compare", f"test example {escaped(example_id)}")
    with st.container(horizontal=True, vertical_alignment="center", width="content", gap="small"):
        measurement_switch(opened, question, example)
        ensemble_switch(opened, question)
        way_out(
            "One method at a time",
            "investigate",
            question.parameters(opened),
            key="one",
            icon=":material/travel_explore:",
        )
stack_bar(opened, beneath)
for complaint in complaints:
    st.warning(escaped(complaint), icon=":material/info:")
confirmation(opened, question)
methods = method_choice(opened)
job = comparison_job(opened, question, methods)
follow(job, lambda: comparison(opened, question, methods, job))
