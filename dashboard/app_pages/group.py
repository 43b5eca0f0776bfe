"""Together: several mispredictions as one, the training examples behind many of them, and a fix for all."""

from __future__ import annotations

import streamlit as st

from dashboard.card_list import view_switch
from dashboard.components.mistakes import mistakes
from dashboard.current import Opened, current_group, current_project
from dashboard.ensemble_switch import ensemble_switch
from dashboard.explaining import Question, explanation_job, question_of
from dashboard.explanation_panel import draw_explanation
from dashboard.heading import page_heading
from dashboard.measurement_switch import confirmation, measurement_switch
from dashboard.messages import escaped
from dashboard.method_switch import method_switch
from dashboard.mistake_cards import investigate, mistake_cards
from dashboard.stacking import base_of_url, predictions_of, stack_bar
from dashboard.state import listed, set_parameters
from dashboard.tray_panel import draw_tray
from dashboard.waiting import follow

SHOWN_AT_ONCE = 260
"""CSS pixels of cards above the explanation; the rest scrolls."""


def leave_out(question: Question, example_id: str) -> None:
    """Callback: take one of them out. What was chosen to fix stays."""
    set_parameters(examples=listed([one for one in question.example_ids if one != example_id]))


opened: Opened = current_project()
beneath = base_of_url(opened)
base = beneath[-1].fix_id if beneath else None
example_ids, complaints = current_group(opened, predictions_of(opened, base))
question, further = question_of(opened, example_ids[0], example_ids[1:])
draw_tray(opened, question, fixable=True)
page_heading(opened, "Together", f"{len(example_ids)} mispredictions as one")
stack_bar(opened, beneath)
for complaint in [*complaints, *further]:
    st.warning(escaped(complaint), icon=":material/info:")
with st.container(height=SHOWN_AT_ONCE if len(example_ids) > 12 else "content", border=False):
    mistakes(
        "mistakes",
        mistake_cards(opened, example_ids, base),
        caption="Mispredictions that are explained and fixed together",
        kind=opened.project.kind,
        on_open=lambda example_id: investigate(opened, example_id, base),
        on_leave_out=(lambda example_id: leave_out(question, example_id)) if question.others else None,
    )
with st.container(horizontal=True, vertical_alignment="center", key="switches"):
    method_switch(opened, question)
    measurement_switch(opened, question)
    ensemble_switch(opened, question)
    view = view_switch(opened)
confirmation(opened, question)
job = explanation_job(opened, question)
follow(job, lambda: draw_explanation(opened, question, view, job))
