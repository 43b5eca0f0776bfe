"""The head of a project's pages: which project this is, and where on the way one is."""

from __future__ import annotations

import streamlit as st

from dashboard.current import Opened
from dashboard.messages import escaped


def page_heading(opened: Opened, title: str, note: str = "") -> None:
    """Title of the page above the project's name; ``note`` is text of ours, not of the data."""
    parts = [f"Project {escaped(opened.project.title)}", note]
    with st.container(gap=None, width="content"):
        st.title(title, anchor=False)
        st.caption(" · ".join(part for part in parts if part))
