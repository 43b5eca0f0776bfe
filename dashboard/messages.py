"""What a page says when it cannot show what was asked for: a sentence and a way out, never a traceback."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import streamlit as st

from attribution.errors import TracefixError
from dashboard.state import go

log = logging.getLogger("tracefix.pages")

UNEXPECTED = (
    "Something unexpected went wrong while this page was drawn. Nothing was changed; "
    "the server's log has the details."
)

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=@\"'])")
_SHORTCODE = re.compile(r":(?=[\w+/-]+:)|(?<=[<-])(?=[->])")
"""Emoji, icons and arrows, which Streamlit replaces after Markdown's own escapes are gone."""


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: for data and for sentences that quote data."""
    broken = _SHORTCODE.sub(lambda match: match.group() + "\N{WORD JOINER}", text)
    return _MARKDOWN.sub(r"\\\1", broken)


def problem(sentence: str, *, title: str | None = None) -> None:
    """Show an error the user can mend."""
    st.error(escaped(sentence), icon=":material/error:", title=title)


def way_out(
    label: str,
    page: str,
    parameters: dict[str, str | None] | None = None,
    *,
    key: str,
    icon: str = ":material/arrow_forward:",
) -> None:
    """A button that leads to another page."""
    st.button(label, key=key, on_click=go, args=(page, parameters or {}), icon=icon)


def stop_with(
    sentence: str,
    *,
    title: str | None = None,
    exits: Callable[[], None] | None = None,
) -> NoReturn:
    """Show a message with its ways out instead of the rest of the page."""
    problem(sentence, title=title)
    if exits is None:
        way_out("All projects", "projects", key="exit-projects")
    else:
        exits()
    st.stop()


@contextmanager
def calm() -> Iterator[None]:
    """Turn errors inside into a message; unexpected ones are logged."""
    try:
        yield
    except TracefixError as error:
        problem(str(error))
        way_out("All projects", "projects", key="exit-error")
    except Exception:
        log.exception("A page failed")
        problem(UNEXPECTED)
        way_out("All projects", "projects", key="exit-unexpected")
