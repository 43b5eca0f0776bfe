"""Registering a component from the files beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

_HERE = Path(__file__).parent


def register(name: str, *shared: str) -> ComponentRenderer:
    """Register ``name.js`` with ``name.css``, on top of what all components share and what ``shared`` names."""
    parts = ("base", *shared, name)
    return st.components.v2.component(
        f"tracefix.{name}",
        html='<div class="root"></div>',
        css="".join(_read(f"{part}.css") for part in parts),
        js="".join(_read(f"{part}.js") for part in parts),
    )


def triggered(key: str, event: str) -> Any:
    """The value a component sent with this event, inside the event's callback; None if there is none."""
    return getattr(st.session_state.get(key), event, None)


def _read(file: str) -> str:
    return (_HERE / file).read_text(encoding="utf-8") + "\n"
