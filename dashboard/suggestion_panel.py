"""Why a fix's training examples were suggested, in the words that were recorded with it."""

from __future__ import annotations

import streamlit as st

from attribution.projects import FixRecord
from dashboard.messages import escaped


def suggestion(fix: FixRecord) -> None:
    """A short list of reasons; nothing where the examples were chosen otherwise."""
    if not fix.suggestion:
        return
    with st.container(key="suggestion", gap="xxsmall"):
        st.caption("Why this was suggested")
        st.markdown("\n".join(f"- {escaped(reason)}" for reason in fix.suggestion))
