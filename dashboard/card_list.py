"""The bar above culprits and helpers: how many, which, in which order, and what is alike together."""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st

from dashboard.annotating import tags_of
from dashboard.components.influence import Card
from dashboard.current import Opened
from dashboard.views.card_filter import SORT_TITLES, CardFilter, SortKey, grouped, ordered

SHOWN = (10, 20, 50)

_KEYS = ("cards-label", "cards-suspected", "cards-query", "cards-tag")


@dataclass(frozen=True)
class View:
    """How an explanation is listed: cards per column, planted errors marked or not, filter, order, groups."""

    top: int = SHOWN[0]
    reveal: bool = False
    only: CardFilter = field(default_factory=CardFilter)
    sort: SortKey = "influence"
    group: bool = True

    def arranged(self, cards: list[Card]) -> list[Card]:
        """The cards of a column, in the order and the groups asked for."""
        result = ordered(cards, self.sort)
        return grouped(result) if self.group and self.sort == "influence" else result


def view_switch(opened: Opened) -> View:
    """Draw the bar; what it says."""
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
    only, sort, group = _filter(opened)
    reveal = False
    if "original_label" in opened.project.examples("train").columns:
        reveal = st.toggle("Reveal planted errors", key="reveal", persist_state="session")
    return View(top or SHOWN[0], reveal, only, sort, group)


def _filter(opened: Opened) -> tuple[CardFilter, SortKey, bool]:
    names = opened.project.class_names
    tags = sorted({tag for found in tags_of(opened, "train").values() for tag in found})
    active = sum(bool(st.session_state.get(key)) for key in _KEYS)
    with st.popover(
        f"Filter ({active})" if active else "Filter", icon=":material/filter_alt:", key="card-filter"
    ):
        label = st.selectbox(
            "Labelled", names, index=None, placeholder="Any label", key="cards-label", persist_state="session"
        )
        suspected = st.toggle("Suspected label errors only", key="cards-suspected", persist_state="session")
        words = "Text or id contains" if opened.project.kind == "text" else "Id"
        query = st.text_input(words, key="cards-query", persist_state="session")
        tag = None
        if tags:
            tag = st.selectbox(
                "Tagged",
                tags,
                index=None,
                placeholder="Any or none",
                key="cards-tag",
                persist_state="session",
            )
        sort = st.radio(
            "Order of the strongest",
            list(SORT_TITLES),
            format_func=lambda key: SORT_TITLES[key],
            horizontal=True,
            key="cards-sort",
            persist_state="session",
        )
        group = st.toggle(
            "Group what is alike",
            value=True,
            key="cards-group",
            persist_state="session",
            help="Near-duplicates, and examples whose label looks wrong in the same way.",
        )
        st.button("Clear filter", key="clear-card-filter", on_click=_clear, disabled=not active)
    return CardFilter(label, bool(suspected), (query or "").strip(), tag), sort or "influence", bool(group)


def _clear() -> None:
    """Callback: list everything again."""
    for key in _KEYS:
        st.session_state[key] = {"cards-suspected": False, "cards-query": ""}.get(key)
