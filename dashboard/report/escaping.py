"""Text of users' data as HTML that does nothing: no markup, no control characters, nothing that reorders a sentence."""

from __future__ import annotations

import html

from dashboard.views.inert import visible


def escape(text: str) -> str:
    """The text for the content of an element or of a quoted attribute."""
    return html.escape(visible(text))
