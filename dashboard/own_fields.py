"""The fields of the page "Open your own": in the URL, so that a link fills the form in, and in the session, so that
nothing that was typed is lost on the way to another page and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import streamlit as st

from attribution.errors import TracefixError
from attribution.projects.files import expanded
from dashboard.messages import problem
from dashboard.state import parameter, set_parameters

FIELDS = (
    "way",
    "model",
    "train",
    "test",
    "reads",
    "text",
    "pair",
    "image",
    "label",
    "id",
    "checkpoints",
    "task",
    "folder",
    "name",
)
"""Names of the fields, as parameters of the URL too."""

_KEPT, _COMPLAINT = "own fields", "own complaint"

Found = TypeVar("Found")


def key_of(field: str) -> str:
    """The key of a field's widget."""
    return f"own-{field}"


def restore() -> None:
    """Give widgets that are not on the page yet what the link says, else what was typed before; called first."""
    kept: dict[str, str] = st.session_state.setdefault(_KEPT, {})
    for field in FIELDS:
        if key_of(field) not in st.session_state:
            value = parameter(field) or kept.get(field)
            if value is not None:
                st.session_state[key_of(field)] = value


def keep() -> None:
    """Remember what the widgets have now; called last."""
    kept: dict[str, str] = st.session_state.setdefault(_KEPT, {})
    for field in FIELDS:
        if key_of(field) in st.session_state:
            kept[field] = st.session_state[key_of(field)] or ""
    set_parameters(**{field: kept.get(field) for field in FIELDS})


def typed(field: str) -> str:
    """What a field has, without space around it."""
    return str(st.session_state.get(key_of(field)) or "").strip()


def set_default(field: str, value: str, options: Sequence[str]) -> None:
    """Choose a value where nothing is chosen yet, or what was chosen is no longer among the options."""
    if st.session_state.get(key_of(field)) not in options:
        st.session_state[key_of(field)] = value


def complain(field: str, value: str, sentence: str) -> None:
    """Have `looked_up` say what is wrong with a field, as long as it has this value (a path, however written)."""
    st.session_state[_COMPLAINT] = (field, value, sentence)


def forget_complaint() -> None:
    """Nothing is wrong any more."""
    st.session_state.pop(_COMPLAINT, None)


def looked_up(field: str, look: Callable[[str], Found]) -> Found | None:
    """What a field names; where it names nothing good, the sentence that says so beside it, and None."""
    if not typed(field):
        return None
    try:
        found = look(typed(field))
        _repeat_complaint(field)
        return found
    except TracefixError as error:
        problem(str(error))
    except (OSError, ValueError) as error:  # a name that no file can have
        problem(f"'{typed(field)}' is no usable path ({error}): give an existing one.")
    return None


def _repeat_complaint(field: str) -> None:
    about, value, sentence = st.session_state.get(_COMPLAINT, ("", "", ""))
    if about == field and str(expanded(typed(field)).absolute()) == str(expanded(value).absolute()):
        problem(sentence)
