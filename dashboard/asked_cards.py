"""The cards about which somebody wants to know more, in this session and for the question at hand."""

from __future__ import annotations

from collections.abc import Hashable

import streamlit as st


def asked_about(kind: str, question: Hashable) -> list[str]:
    """Ids of the cards, in the order in which they were asked about; another question begins with none."""
    known = st.session_state.get(kind)
    if known is None or known[0] != question:
        known = (question, [])
        st.session_state[kind] = known
    ids: list[str] = known[1]
    return ids


def ask_or_not(kind: str, question: Hashable, card_id: str) -> None:
    """Ask about a card, or no longer."""
    ids = asked_about(kind, question)
    if card_id in ids:
        ids.remove(card_id)
    else:
        ids.append(card_id)
