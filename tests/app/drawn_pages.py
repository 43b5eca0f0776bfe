"""Looking at pages that `AppTest` drew."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

import dashboard

APP = Path(dashboard.__file__).parent / "app.py"

PATIENCE = 60.0
"""Seconds; generous, because tests share a machine."""

OpenPage = Callable[..., AppTest]


def shown(app: AppTest, key: str) -> dict[str, Any] | None:
    """What a component of that key was given to draw; None if it is not on the page."""
    for node in app.get("bidi_component"):
        if node.key == key:
            document: dict[str, Any] = json.loads(node.proto.json)
            return document
    return None


def until_shown(app: AppTest, key: str) -> dict[str, Any]:
    """Draw the page again until a background job has brought the component."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        data = shown(app, key)
        if data is not None:
            return data
        app.run()
    raise AssertionError(f"no component '{key}' within {PATIENCE} s; errors: {[e.value for e in app.error]}")
