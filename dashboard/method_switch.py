"""The switch for the method: the usual one first, then all others by kind; those that cannot run here are greyed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from attribution.methods import (
    MethodInfo,
    ProjectFacts,
    availability,
    default_method,
    families,
    method_named,
)
from dashboard.current import Opened
from dashboard.explaining import Question
from dashboard.messages import escaped
from dashboard.state import set_parameters


def method_switch(opened: Opened, question: Question) -> None:
    """All methods, each with what it does, or why it cannot run here."""
    reasons = availability(opened.project)
    usual = method_named(default_method(ProjectFacts.of(opened.project))).info
    title = method_named(question.method).info.title
    with st.popover(f"Method: {title}", icon=":material/function:"):
        _section("The usual one here", [usual], opened, question, reasons)
        for kind, infos in families().items():
            others = [info for info in infos if info != usual]
            _section(
                kind,
                sorted(others, key=lambda info: reasons[info.name] is not None),
                opened,
                question,
                reasons,
            )


def _section(
    title: str,
    infos: Sequence[MethodInfo],
    opened: Opened,
    question: Question,
    reasons: dict[str, str | None],
) -> None:
    st.markdown(f"**{title}**")
    with st.grid(2, min_column_width=260, gap="small"):
        for info in infos:
            reason = reasons[info.name]
            with st.container(gap="xxsmall"):
                st.button(
                    info.title,
                    key=f"method-{info.name}",
                    width="stretch",
                    type="primary" if info.name == question.method else "secondary",
                    disabled=reason is not None,
                    on_click=_choose,
                    args=(info.name, opened, question),
                    help=escaped(f"{info.citation}. Cost of a query: {info.cost}."),
                )
                st.caption(escaped(reason or info.one_line))


def _choose(name: str, opened: Opened, question: Question) -> None:
    set_parameters(**replace(question, method=name).parameters(opened))
