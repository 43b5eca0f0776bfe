"""Compare: several methods on one prediction, how far they agree, and what each lists first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from attribution.methods import ProjectFacts, availability, default_method, list_methods
from dashboard.cards import cards
from dashboard.components.influence import CardColumn, influence
from dashboard.current import Opened, current_example, current_project
from dashboard.explaining import Question, comparison_job, question_of
from dashboard.heading import page_heading
from dashboard.jobs import Job
from dashboard.messages import calm, escaped, problem
from dashboard.state import link, parameter, set_parameters, travel
from dashboard.tray_panel import draw_tray, tray_of
from dashboard.views.agreement import agreement_heatmap
from dashboard.waiting import POLL_SECONDS, show_progress, wait_for_something

if TYPE_CHECKING:
    from attribution.comparison import Comparison

USUAL = ("path", "ekfac", "tracin", "grad_dot", "representation")
MOST = 6
LISTED = 5


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
    possible = [info.name for info in list_methods() if reasons[info.name] is None]
    chosen = chosen_methods(opened)
    st.session_state["compared methods"] = chosen
    st.multiselect(
        "Methods",
        possible,
        key="compared methods",
        format_func=lambda name: titles[name],
        max_selections=MOST,
        on_change=methods_changed,
    )
    return chosen


def draw_comparison(opened: Opened, question: Question, comparison: Comparison) -> None:
    """The two matrices, then each method's first culprits."""
    infos = {info.name: info for info in list_methods()}
    names = comparison.methods
    ranks, lists = st.columns(2)
    with ranks:
        st.plotly_chart(
            agreement_heatmap(
                names, comparison.agreement, title="Rank correlation of all scores", percent=False
            ),
            key="rank agreement",
        )
    with lists:
        st.plotly_chart(
            agreement_heatmap(names, comparison.overlap, title="Shared among the 20 strongest", percent=True),
            key="list overlap",
        )
    st.caption(
        "Methods that agree are not therefore right: look for the one whose fidelity was measured, and read its list."
    )
    tray = tray_of(opened, question.example_id)
    columns = [
        CardColumn(
            "culprits",
            infos[explanation.method].title,
            f"{max(explanation.seconds['total'], 0.01):.2f} s. {infos[explanation.method].one_line}",
            cards(explanation.culprits(LISTED), opened.project.class_names),
            "No training example pushed this way.",
        )
        for explanation in comparison.explanations
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


@st.fragment(run_every=POLL_SECONDS)
def comparison_while_running(opened: Opened, question: Question, methods: list[str], job: Job) -> None:
    """The same, drawn again until the job is finished."""
    travel()
    with calm():
        comparison(opened, question, methods, job)
    if job.finished:
        st.rerun()


opened = current_project()
example_id = current_example(opened)
example = opened.project.example("test", example_id)
question, complaints = question_of(opened, example_id)
draw_tray(opened, question, fixable=example["true"] != example["predicted"])
page_heading(opened, "Compare", f"test example {escaped(example_id)}")
for complaint in complaints:
    st.warning(escaped(complaint), icon=":material/info:")
with st.container(horizontal=True, vertical_alignment="bottom"):
    methods = method_choice(opened)
st.caption(
    f"Why “{escaped(example['predicted'])}” instead of “{escaped(example['true'])}”: "
    f"[one method at a time]({link('investigate', question.parameters(opened))})"
)
job = comparison_job(opened, question, methods)
wait_for_something(job)
if job.finished:
    comparison(opened, question, methods, job)
else:
    comparison_while_running(opened, question, methods, job)
