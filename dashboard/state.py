"""Where the user is: the URL says it (project, example, method, fix, filter), so that links and refreshes work.

The session only remembers the last project and example, for pages opened from the navigation bar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

import streamlit as st

from attribution.errors import UsageError
from attribution.fixing.command import also_ids, also_option

PAGES = {
    "projects": "app_pages/projects.py",
    "open": "app_pages/open.py",
    "mispredictions": "app_pages/mispredictions.py",
    "investigate": "app_pages/investigate.py",
    "group": "app_pages/group.py",
    "compare": "app_pages/compare.py",
    "preview": "app_pages/preview.py",
    "history": "app_pages/history.py",
    "trust": "app_pages/trust.py",
    "compare_fixes": "app_pages/compare_fixes.py",
}
"""Page name (its URL path, `projects` being the root) and its file, relative to app.py."""

FILTERS = ("true", "predicted", "cluster", "q")
"""Parameters of the mispredictions' filter; Investigate carries them, so that next and previous stay within it."""

_MEMORY = "last place"
_DESTINATION = "next place"


def parameter(name: str) -> str | None:
    """A parameter of the URL; None if it is absent or empty."""
    return st.query_params.get(name) or None


def set_parameters(**values: str | None) -> None:
    """Change parameters of the URL in place; None takes one out."""
    for name, value in values.items():
        if value is None or value == "":
            if name in st.query_params:
                del st.query_params[name]
        elif st.query_params.get(name) != value:
            st.query_params[name] = value


def listed(ids: Sequence[str]) -> str:
    """Ids as one parameter, separated by commas, quoted as in a CSV file where need be; empty for none."""
    return also_option(ids) if ids else ""


def unlisted(text: str | None) -> list[str]:
    """The ids of `listed`, each once; none where it is not one."""
    try:
        return list(dict.fromkeys(also_ids(text)))
    except UsageError:
        return []


def filters() -> dict[str, str | None]:
    """The mispredictions' filter as the URL has it."""
    return {name: parameter(name) for name in FILTERS}


def recall(name: str) -> str | None:
    """A parameter of the URL, else the value it had last in this session (which then goes back into the URL)."""
    value = parameter(name)
    memory: dict[str, str] = st.session_state.setdefault(_MEMORY, {})
    if value is None and name in memory:
        value = memory[name]
        set_parameters(**{name: value})
    elif value is not None:
        memory[name] = value
    return value


def forget(name: str) -> None:
    """Drop what `recall` remembers, because it no longer exists or belongs to another project."""
    st.session_state.get(_MEMORY, {}).pop(name, None)


def go(page: str, parameters: Mapping[str, str | None]) -> None:
    """Open another page at the next `travel`: for callbacks, which run before any page exists."""
    st.session_state[_DESTINATION] = (page, _present(parameters))


def travel() -> None:
    """Leave for where `go` asked to; called once the pages exist."""
    destination = st.session_state.pop(_DESTINATION, None)
    if destination is not None:
        page, parameters = destination
        st.switch_page(PAGES[page], query_params=parameters)


def link(page: str, parameters: Mapping[str, str | None]) -> str:
    """The same as a relative address, for a link that opens in a second tab."""
    path = "./" if page == "projects" else page
    return f"{path}?{urlencode(_present(parameters), quote_via=quote)}"


def _present(parameters: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value}
