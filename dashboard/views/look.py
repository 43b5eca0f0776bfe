"""What decides how a figure is drawn, apart from its data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """Whether the page is dark, and whether the browser can draw with WebGL."""

    dark: bool
    webgl: bool = True
