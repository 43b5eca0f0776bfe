"""The switch for what is explained: margin, loss, a class's logit, what the task names, or a function of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from attribution.errors import NotFoundError, TracefixError
from attribution.methods import ProjectFacts
from dashboard.current import Opened
from dashboard.explaining import Question
from dashboard.function_files import FunctionFile, confirmed_functions, function_file, is_function
from dashboard.messages import escaped, problem
from dashboard.permission import may_change, refusing
from dashboard.state import set_parameters
from dashboard.views.measurements import MEASURED, measurement_title

LOGIT, FUNCTION, REFUSED = "logit class", "function typed", "function refused"
"""Keys of the session's state."""


def measurement_switch(opened: Opened, question: Question, example: dict[str, Any] | None = None) -> None:
    """Every measurement of this project, the one in force marked; in the words of the ``example``, if it is of one."""
    own_words = {}
    if example is not None and example["true"] != example["predicted"]:
        own_words["margin"] = (
            f"How far “{example['predicted']}” is ahead of “{example['true']}”, the true class."
        )
    described = MEASURED | own_words | _own(opened)
    with st.popover(
        f"Measurement: {escaped(measurement_title(question.measurement))}", icon=":material/straighten:"
    ):
        for name, words in described.items():
            with st.container(gap="xxsmall"):
                st.button(
                    escaped(name),
                    key=f"measurement-{name}",
                    width="stretch",
                    type="primary" if name == question.measurement else "secondary",
                    on_click=_choose,
                    args=(name,),
                )
                if words:
                    st.caption(escaped(words))
        _logits(opened, question)
        if may_change():
            _function(opened, question)


def confirmation(opened: Opened, question: Question) -> None:
    """Where a link asks for a function that was not confirmed: show what it is, and let the user decide."""
    if question.awaiting is None:
        return
    file = function_file(question.awaiting, opened.project.directory)
    with st.container(border=True, key="confirm-function"):
        st.markdown(
            ":material/shield_question: **This link measures with a Python function of this machine, which has not run "
            "yet.** Running it runs the whole file with your rights: do so only if you know what it does."
        )
        st.code(file.name, language=None, wrap_lines=True)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Run it",
                key="run-function",
                on_click=_confirm,
                args=(file,),
                icon=":material/play_arrow:",
                disabled=not may_change(),
            )
            st.button("Stay with the margin", key="leave-function", on_click=_choose, args=("margin",))
            st.caption("Until then, the margin is shown.", width="content")


def _own(opened: Opened) -> dict[str, str]:
    """What the task names, with its own words."""
    return ProjectFacts.of(opened.project).measurements


def _choose(name: str) -> None:
    st.session_state.pop(REFUSED, None)
    set_parameters(measurement=None if name == "margin" else name)


@refusing
def _confirm(file: FunctionFile) -> None:
    confirmed_functions().confirm(file)


def _logits(opened: Opened, question: Question) -> None:
    kind, _, target = question.measurement.partition(":")
    st.session_state[LOGIT] = target if kind == "logit" else None
    st.selectbox(
        "Logit of a class",
        opened.project.class_names,
        index=None,
        key=LOGIT,
        placeholder="Choose a class",
        on_change=_logit_chosen,
    )


def _logit_chosen() -> None:
    if st.session_state[LOGIT] is not None:
        _choose(f"logit:{st.session_state[LOGIT]}")


def _function(opened: Opened, question: Question) -> None:
    if FUNCTION not in st.session_state and is_function(question.measurement):
        st.session_state[FUNCTION] = question.measurement
    with st.form("own-function", border=False):
        st.text_input(
            "A function of yours",
            key=FUNCTION,
            placeholder="FILE.py:FUNCTION",
            help="It takes the logits (B, C), and the labels (B,) if it wants them, and returns one number per example "
            "(B,). A relative file is looked for in the project's folder, then where Tracefix was started.",
        )
        st.form_submit_button("Run and use it", key="use-function", on_click=_typed, args=(opened,))
    if REFUSED in st.session_state:
        problem(st.session_state[REFUSED])


@refusing
def _typed(opened: Opened) -> None:
    """What somebody typed here is confirmed by it; a name that means nothing changes nothing."""
    name = str(st.session_state[FUNCTION] or "").strip()
    try:
        file = function_file(name, opened.project.directory)
    except NotFoundError:
        try:
            file = function_file(name, Path.cwd())
        except TracefixError:
            st.session_state[REFUSED] = (
                f"There is no file '{name.rpartition(':')[0]}', neither in the project's folder nor in '{Path.cwd()}': "
                "give an existing Python file, best with its whole path."
            )
            return
        name = file.name  # a link to it means the same wherever the server runs
    except TracefixError as error:
        st.session_state[REFUSED] = str(error)
        return
    confirmed_functions().confirm(file)
    _choose(name)
