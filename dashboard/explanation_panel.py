"""Culprits and helpers of one prediction, or of several together, as an explanation job brings them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from attribution.methods import DirectionalMethod, method_named
from dashboard.cards import cards
from dashboard.components.influence import CardColumn, influence
from dashboard.current import Opened
from dashboard.explaining import Question, explanation_job
from dashboard.jobs import Job
from dashboard.looking import look_or_not, looks_at_training
from dashboard.messages import escaped, problem
from dashboard.score_parts import score_parts_asked, why_or_not
from dashboard.tray_panel import tray_of
from dashboard.views.measurements import common_subtitles, subtitles, unit_words
from dashboard.waiting import show_progress

if TYPE_CHECKING:
    from attribution.explanation import Explanation

SHOWN = (10, 20, 50)


@dataclass(frozen=True)
class View:
    """How the explanation is shown: cards per column, planted errors marked or not."""

    top: int
    reveal: bool


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
    tray = tray_of(opened, question)
    together = len(explanation.examples)
    about_culprits, about_helpers = (
        common_subtitles(together) if together > 1 else subtitles(explanation.example, question.measurement)
    )
    divisible = (
        not question.others
        and not question.ensemble
        and isinstance(method_named(question.method), DirectionalMethod)
    )
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
                "Culprits" if together == 1 else "Common culprits",
                about_culprits,
                cards(explanation.culprits(view.top), names, together),
                "No training example pushed this way.",
            ),
            CardColumn(
                "helpers",
                "Helpers" if together == 1 else "Common helpers",
                about_helpers,
                cards(explanation.helpers(view.top), names, together),
                "No training example pushed this way.",
            ),
        ],
        kind=opened.project.kind,
        classes=names,
        chosen={edit.train_id: (edit.action, edit.label) for edit in tray.edits},
        reveal=view.reveal,
        on_choose=tray.set,
        looks={} if question.others else looks_at_training(opened, question),
        on_look=None if question.others else partial(look_or_not, opened, question),
        whys=score_parts_asked(opened, question) if divisible else {},
        on_why=partial(why_or_not, opened, question) if divisible else None,
    )


def explain_again(opened: Opened, question: Question) -> None:
    """Callback: start the explanation anew."""
    explanation_job(opened, question, afresh=True)


def draw_explanation(opened: Opened, question: Question, view: View, job: Job) -> None:
    """The explanation as far as it is: progress, result, or what went wrong."""
    early = job.interim.result
    if not job.finished and early is not None:
        draw_influence(opened, question, view, early)
        st.caption("The strongest are being scored once more, exactly; the order may still change a little.")
    elif not job.finished:
        which = "these predictions" if question.others else "this prediction"
        st.subheader(f"Looking for the training examples behind {which}", anchor=False)
        show_progress(job, "explanation")
    elif job.state == "done":
        draw_influence(opened, question, view, job.result)
    else:
        if job.state == "cancelled":
            st.info("The explanation was cancelled.", icon=":material/cancel:")
        else:
            problem(job.error or "", title="This explanation failed")
        st.button("Try again", key="explain-again", on_click=explain_again, args=(opened, question))
