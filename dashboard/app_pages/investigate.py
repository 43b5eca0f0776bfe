"""Investigate: one prediction, the training examples that pushed it there (culprits) and those that held against it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import streamlit as st

from dashboard.cards import cards
from dashboard.components.belief import belief
from dashboard.components.influence import CardColumn, influence
from dashboard.current import Opened, current_example, current_project
from dashboard.ensemble_switch import ensemble_switch
from dashboard.explaining import Question, explanation_job, question_of
from dashboard.heading import page_heading
from dashboard.jobs import Job
from dashboard.measurement_switch import confirmation, measurement_switch
from dashboard.messages import escaped, problem
from dashboard.method_switch import method_switch
from dashboard.state import filters, go, set_parameters, travel
from dashboard.tables import mispredictions_of, probabilities_of, texts_of
from dashboard.tray_panel import draw_tray, tray_of
from dashboard.views.measurements import subtitles, unit_words
from dashboard.views.mispredictions import filtered, neighbours
from dashboard.waiting import follow, show_progress

if TYPE_CHECKING:
    from attribution.explanation import Explanation

SHOWN = (10, 20, 50)

# The example stays in view while the cards scroll; on a narrow screen it stands above them.
PINNED = """<style>
@media (min-width: 641px) { div:has(> .st-key-pinned) { position: sticky; top: 4.5rem; } }
</style>"""


@dataclass(frozen=True)
class View:
    """How the explanation is shown: cards per column, planted errors marked or not."""

    top: int
    reveal: bool


def go_to(opened: Opened, question: Question, example_id: str | None) -> None:
    """Callback: another example with the same method and filter, and a tray of its own."""
    if example_id is not None:
        set_parameters(**replace(question, example_id=example_id).parameters(opened), tray=None)


def steps_between(opened: Opened, question: Question) -> None:
    """Where this is among the (filtered) mispredictions, with previous and next."""
    here = filters()
    rows = filtered(
        mispredictions_of(opened),
        texts_of(opened),
        true=here["true"],
        predicted=here["predicted"],
        query=here["q"],
    )
    position, before, after = neighbours(rows, question.example_id)
    with st.container(horizontal=True, vertical_alignment="center", width="content", gap="small"):
        if position is not None:
            st.caption(
                f"{position + 1} of {len(rows)}{' in the filter' if any(here.values()) else ''}",
                width="content",
            )
        st.button(
            "Previous",
            key="previous",
            on_click=go_to,
            args=(opened, question, before),
            disabled=before is None,
            shortcut="p",
            icon=":material/chevron_left:",
        )
        st.button(
            "Next",
            key="next",
            on_click=go_to,
            args=(opened, question, after),
            disabled=after is None,
            shortcut="n",
            icon=":material/chevron_right:",
            icon_position="right",
        )


def view_switch(opened: Opened) -> View:
    """How many cards, and whether errors that were planted on purpose are marked."""
    top = st.segmented_control(
        "Shown",
        SHOWN,
        default=SHOWN[0],
        key="shown",
        required=True,
        label_visibility="collapsed",
        format_func=lambda count: f"top {count}",
        persist_state="session",
    )
    reveal = False
    if "original_label" in opened.project.examples("train").columns:
        reveal = st.toggle("Reveal planted errors", key="reveal", persist_state="session")
    return View(top or SHOWN[0], reveal)


def draw_influence(opened: Opened, question: Question, view: View, explanation: Explanation) -> None:
    """Culprits and helpers of an explanation, the trust line above them."""
    names = opened.project.class_names
    tray = tray_of(opened, question.example_id)
    about_culprits, about_helpers = subtitles(explanation.example, question.measurement)
    seconds = max(explanation.seconds["total"], 0.01)
    unit = unit_words(question.method, question.measurement)
    st.caption(
        f"Scores for {escaped(explanation.measurement_words)}{unit}, found in {seconds:.2f} s. "
        f"{escaped(explanation.trust['sentence'])}"
    )
    influence(
        "influence",
        [
            CardColumn(
                "culprits",
                "Culprits",
                about_culprits,
                cards(explanation.culprits(view.top), names),
                "No training example pushed this way.",
            ),
            CardColumn(
                "helpers",
                "Helpers",
                about_helpers,
                cards(explanation.helpers(view.top), names),
                "No training example pushed this way.",
            ),
        ],
        kind=opened.project.kind,
        classes=names,
        chosen={edit.train_id: (edit.action, edit.label) for edit in tray.edits},
        reveal=view.reveal,
        on_choose=tray.set,
    )


def explain_again(opened: Opened, question: Question) -> None:
    """Callback: start the explanation anew."""
    explanation_job(opened, question, afresh=True)


def explanation(opened: Opened, question: Question, view: View, job: Job) -> None:
    """The explanation as far as it is: progress, result, or what went wrong."""
    early = job.interim.result
    if not job.finished and early is not None:
        draw_influence(opened, question, view, early)
        st.caption("The strongest are being scored once more, exactly; the order may still change a little.")
    elif not job.finished:
        st.subheader("Looking for the training examples behind this prediction", anchor=False)
        show_progress(job, "explanation")
    elif job.state == "done":
        draw_influence(opened, question, view, job.result)
    else:
        if job.state == "cancelled":
            st.info("The explanation was cancelled.", icon=":material/cancel:")
        else:
            problem(job.error or "", title="This explanation failed")
        st.button("Try again", key="explain-again", on_click=explain_again, args=(opened, question))


opened = current_project()
example_id = current_example(opened)
example = opened.project.example("test", example_id)
question, complaints = question_of(opened, example_id)
wrong = example["true"] != example["predicted"]
draw_tray(opened, question, fixable=wrong)

with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
    with st.container(width="content", gap="xxsmall"):
        page_heading(opened, "Investigate", f"test example {escaped(example_id)}")
    steps_between(opened, question)
for complaint in complaints:
    st.warning(escaped(complaint), icon=":material/info:")

with st.container(horizontal=True, vertical_alignment="center", key="switches"):
    method_switch(opened, question)
    measurement_switch(opened, question, example)
    ensemble_switch(opened, question)
    if st.button("Compare methods", key="compare", icon=":material/balance:"):
        go("compare", question.parameters(opened))
        travel()
    view = view_switch(opened)
confirmation(opened, question)

st.html(PINNED)
example_side, influence_side = st.columns([1, 3.6], gap="medium")
with example_side, st.container(key="pinned"):
    belief(
        "belief",
        probabilities_of(opened, example_id),
        true=example["true"],
        predicted=example["predicted"],
        title=f"Predicted {example['predicted']}, " + (f"true {example['true']}" if wrong else "rightly"),
        example_id=example_id,
        input=example["input"],
        kind=opened.project.kind,
    )
    st.caption(f"Loss {example['loss']:.2f} nats")
with influence_side:
    job = explanation_job(opened, question)
    follow(job, lambda: explanation(opened, question, view, job))
