"""Culprits and helpers of one prediction, or of several together, as an explanation job brings them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from attribution.methods import DirectionalMethod, method_named
from dashboard.annotating import tags_of
from dashboard.card_list import View
from dashboard.cards import cards
from dashboard.components.influence import CardColumn, influence
from dashboard.current import Opened
from dashboard.explaining import Question, explanation_job
from dashboard.jobs import Job
from dashboard.looking import look_or_not, looks_at_training
from dashboard.messages import escaped, problem
from dashboard.pinned import draw_pinned, pin_or_not, pinned_of
from dashboard.score_parts import score_parts_asked, why_or_not
from dashboard.tray import FixTray, changed
from dashboard.tray_panel import tray_of
from dashboard.trust_line import trust_line
from dashboard.views.measurements import common_subtitles, effect_sentence, subtitles, unit_words
from dashboard.waiting import show_progress

if TYPE_CHECKING:
    from attribution.explanation import Explanation


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
    tagged = [one for one, tags in tags_of(opened, "train").items() if view.only.tag in tags]
    among = view.only.mask(explanation, tagged)
    pins = pinned_of(opened) if together == 1 else []
    nothing = (
        "No training example pushed this way."
        if among is None
        else f"None of the {int(among.sum()):,} training examples that the filter leaves pushed this way."
    )
    trust_line(explanation, unit_words(question.method, question.measurement))
    scores = {edit.train_id: _score(opened, explanation, edit.train_id) for edit in tray.edits}
    effect = effect_sentence(tray.edits, scores, question.method, question.measurement)
    if effect is not None:
        st.caption(escaped(effect))
    if together == 1:
        draw_pinned(opened, explanation)
    influence(
        "influence",
        [
            CardColumn(
                "culprits",
                "Culprits" if together == 1 else "Common culprits",
                about_culprits,
                view.arranged(cards(explanation.culprits(view.top, among=among), names, together, pins)),
                nothing,
            ),
            CardColumn(
                "helpers",
                "Helpers" if together == 1 else "Common helpers",
                about_helpers,
                view.arranged(cards(explanation.helpers(view.top, among=among), names, together, pins)),
                nothing,
            ),
        ],
        kind=opened.project.kind,
        classes=names,
        chosen={edit.train_id: (edit.action, edit.label) for edit in tray.edits},
        reveal=view.reveal,
        on_choose=tray.set,
        on_choose_all=partial(relabel_all, tray),
        on_pin=partial(pin_or_not, opened) if together == 1 else None,
        looks={} if question.others else looks_at_training(opened, question),
        on_look=None if question.others else partial(look_or_not, opened, question),
        whys=score_parts_asked(opened, question) if divisible else {},
        on_why=partial(why_or_not, opened, question) if divisible else None,
    )


def _score(opened: Opened, explanation: Explanation, train_id: str) -> float:
    return float(explanation.scores[opened.project.position("train", train_id)])


def relabel_all(tray: FixTray, ids: Sequence[str], label: str | None) -> None:
    """Callback: relabel a whole group at once, or take it out of the tray; one undo takes it back."""
    edits = tray.edits
    for train_id in ids:
        edits = changed(edits, train_id, "relabel" if label is not None else None, label)
    tray.put(edits)


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
