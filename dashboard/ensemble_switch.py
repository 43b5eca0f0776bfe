"""The switch between the project's model alone and the average over all its trained models."""

from __future__ import annotations

import streamlit as st

from attribution.methods import ProjectFacts
from dashboard.current import Opened
from dashboard.explaining import Question
from dashboard.state import set_parameters

KEY = "ensemble"


def ensemble_switch(opened: Opened, question: Question) -> None:
    """A toggle, where there are further models."""
    models = ProjectFacts.of(opened.project).models
    if models < 2:
        return
    st.session_state[KEY] = question.ensemble
    st.toggle(
        f"Average over {models} models",
        key=KEY,
        on_change=_changed,
        help="One training run is one draw of its noise: scores averaged over runs from other seeds are steadier. The "
        "prediction shown and the fix are those of the first model.",
    )


def _changed() -> None:
    set_parameters(ensemble="yes" if st.session_state[KEY] else None)
