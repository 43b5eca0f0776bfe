"""Investigate: one prediction, the training examples that pushed it there (culprits) and those that held against it."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from dashboard.annotating import annotation_button
from dashboard.card_list import view_switch
from dashboard.components.belief import belief
from dashboard.current import Opened, current_example, current_project
from dashboard.ensemble_switch import ensemble_switch
from dashboard.explaining import Question, explanation_job, question_of
from dashboard.explanation_panel import draw_explanation
from dashboard.guide import guide
from dashboard.heading import page_heading
from dashboard.looking import look_at_example, look_switch
from dashboard.map_switch import list_or_map, map_shown
from dashboard.measurement_switch import confirmation, measurement_switch
from dashboard.messages import escaped
from dashboard.method_switch import method_switch
from dashboard.stacking import base_of_url, stack_bar
from dashboard.state import filters, go, set_parameters, travel
from dashboard.tables import members_of, mispredictions_of, probabilities_of, test_example, texts_of
from dashboard.tray_panel import draw_tray
from dashboard.views.mispredictions import filtered, neighbours
from dashboard.waiting import follow

# The example stays in view while the cards scroll; on a narrow screen it stands above them.
PINNED = """<style>
@media (min-width: 641px) { div:has(> .st-key-pinned) { position: sticky; top: 4.5rem; } }
</style>"""


def go_to(opened: Opened, question: Question, example_id: str | None) -> None:
    """Callback: another example with the same method and filter, and a tray of its own."""
    if example_id is not None:
        set_parameters(**replace(question, example_id=example_id).parameters(opened), tray=None)


def steps_between(opened: Opened, question: Question) -> None:
    """Where this is among the (filtered) mispredictions, with previous and next."""
    here = filters()
    rows = filtered(
        mispredictions_of(opened, question.base),
        texts_of(opened),
        true=here["true"],
        predicted=here["predicted"],
        query=here["q"],
        among=members_of(opened, here["cluster"]),
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


opened = current_project()
example_id = current_example(opened)
beneath = base_of_url(opened)
question, complaints = question_of(opened, example_id)
example = test_example(opened, example_id, question.base)
wrong = example["true"] != example["predicted"]
draw_tray(opened, question, fixable=wrong)

with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
    with st.container(width="content", gap="xxsmall"):
        page_heading(opened, "Investigate", f"test example {escaped(example_id)}")
    steps_between(opened, question)
guide(opened, "investigate")
stack_bar(opened, beneath)
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
    list_or_map("Cards", "influence-shown")
confirmation(opened, question)

st.html(PINNED)
example_side, influence_side = st.columns([1, 3.6], gap="medium")
job = explanation_job(opened, question)
with example_side, st.container(key="pinned"):
    place = st.container()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"Loss {example['loss']:.2f} nats", width="content")
        annotation_button(opened, "test", example_id)
    looking = look_switch()
with place:
    belief(
        "belief",
        probabilities_of(opened, example_id, question.base),
        true=example["true"],
        predicted=example["predicted"],
        title=f"Predicted {example['predicted']}, " + (f"true {example['true']}" if wrong else "rightly"),
        example_id=example_id,
        input=example["input"],
        kind=opened.project.kind,
        looked=look_at_example(opened, question, example, job) if looking else None,
    )
with influence_side:
    if map_shown():
        from dashboard.training_map_panel import draw_training_map  # plotly, which cards need not wait for

        follow(job, lambda: draw_training_map(opened, question, view, job, wrong=wrong))
    else:
        follow(job, lambda: draw_explanation(opened, question, view, job))
