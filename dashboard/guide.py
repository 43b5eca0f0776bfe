"""A first visit is guided on the sample that is ready in seconds: four short steps, where they are taken."""

from __future__ import annotations

import streamlit as st

from dashboard.components.guide import guide_line
from dashboard.current import Opened
from dashboard.permission import may_change

SAMPLE = "digits"

STEPS = {
    "mispredictions": (
        "These test digits are predicted wrong. Open one: a click on its row, or Enter on it.",
    ),
    "investigate": (
        "Culprits are training digits that pushed towards the wrong class, helpers held against it; a flag marks a "
        "label that looks wrong.",
        "Choose cards for the fix tray (in the sidebar; on a phone, the bar at the bottom), or choose none, and press "
        "Suggest & preview.",
    ),
    "preview": (
        "A copy of the model was fine-tuned for a few steps. Believe the fix where it beats its controls, see what it "
        "broke, then Keep it or Discard it.",
    ),
}
"""Words by page, in the order of the way."""

COUNT = sum(map(len, STEPS.values()))

_CLOSED = "guide closed"


def guide(opened: Opened, page: str) -> None:
    """The steps of a page; nothing on other projects, to those who may not take them, and once the guide was closed."""
    if opened.project.manifest.sample != SAMPLE or st.session_state.get(_CLOSED) or not may_change():
        return
    pages = list(STEPS)
    before = sum(len(STEPS[name]) for name in pages[: pages.index(page)])
    steps = [(before + number, text) for number, text in enumerate(STEPS[page], start=1)]
    guide_line(f"guide-{page}", steps, count=COUNT, done=page == pages[-1], on_close=_close)


def _close() -> None:
    st.session_state[_CLOSED] = True
