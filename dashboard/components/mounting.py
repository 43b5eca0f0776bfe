"""Registering a component from the files beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

_HERE = Path(__file__).parent


def register(name: str) -> ComponentRenderer:
    """Register ``name.js`` with ``name.css``, on top of what all components share."""
    return st.components.v2.component(
        f"tracefix.{name}",
        html='<div class="root"></div>',
        css=_read("base.css") + _read(f"{name}.css"),
        js=_read("base.js") + _read(f"{name}.js"),
    )


def triggered(key: str, event: str) -> Any:
    """The value a component sent with this event, inside the event's callback; None if there is none."""
    return getattr(st.session_state.get(key), event, None)


def _read(file: str) -> str:
    return (_HERE / file).read_text(encoding="utf-8") + "\n"
