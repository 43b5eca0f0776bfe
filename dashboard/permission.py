"""Who may look and who may change: decided from the settings and the e-mail address that somebody logged in with.

Everything that writes asks the rule that `enforce` sets (`attribution.projects.access`); hiding buttons is politeness.
Settings: ``tracefix --read-only``, and in secrets.toml ``[tracefix]`` with ``editors`` and ``readers`` (or the
environment variables below). Light: Streamlit is imported when it is asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

from attribution.errors import UsageError
from attribution.projects.access import ReadOnlyError, set_rule

READ_ONLY_VARIABLE = "TRACEFIX_READ_ONLY"
"""How the command line hands ``--read-only`` to the app it starts; "1" switches it on."""

EDITORS_VARIABLE = "TRACEFIX_EDITORS"
READERS_VARIABLE = "TRACEFIX_READERS"
"""E-mail addresses or domains, separated by commas; they go before those of secrets.toml."""

_P = ParamSpec("_P")


@dataclass(frozen=True)
class Policy:
    """The settings.

    Args:
        read_only: nobody may change anything.
        login: an ``[auth]`` section is configured: everybody has to log in.
        editors: e-mail addresses or domains that may change things; None for everybody who gets in.
        readers: e-mail addresses or domains that get in beside the editors; None for everybody who can log in.
    """

    read_only: bool = False
    login: bool = False
    editors: tuple[str, ...] | None = None
    readers: tuple[str, ...] | None = None

    def refusal(self, email: str | None) -> str | None:
        """Why somebody may change nothing, as the end of a sentence; None where they may.

        Args:
            email: what they logged in with; None where they did not.
        """
        if self.read_only:
            return "this dashboard was started read-only"
        if self.login and email is None:
            return "you are not logged in"
        if not self.may_open(email):
            return f"{email} was not given access to this dashboard"
        if self.editors is not None and not listed(email, self.editors):
            if email is None:
                return "only the listed editors may change anything, and no login is configured"
            return f"{email} may look, but change nothing (ask to be added to the editors)"
        return None

    def may_open(self, email: str | None) -> bool:
        """Whether somebody may look at the pages."""
        if not self.login:
            return True
        if email is None:
            return False
        return self.readers is None or listed(email, (*self.readers, *(self.editors or ())))


def listed(email: str | None, entries: Sequence[str]) -> bool:
    """Whether an address is among the entries: the address itself, or its whole domain ("@example.org", "example.org").

    Upper and lower case are the same. A subdomain is another domain.
    """
    if email is None:
        return False
    address = email.strip().casefold()
    name, at, domain = address.rpartition("@")
    if not (name and at and domain) or "@" in name:
        return False
    wanted = {entry.strip().casefold() for entry in entries}
    return bool({address, domain, f"@{domain}"} & wanted)


def policy() -> Policy:
    """The settings in force.

    Raises:
        UsageError: a list in secrets.toml is not a list of texts.
    """
    said = secrets()
    own = said.get("tracefix") or {}
    return Policy(
        read_only=os.environ.get(READ_ONLY_VARIABLE) == "1",
        login="auth" in said,
        editors=_entries(os.environ.get(EDITORS_VARIABLE) or own.get("editors"), "editors"),
        readers=_entries(os.environ.get(READERS_VARIABLE) or own.get("readers"), "readers"),
    )


def email() -> str | None:
    """The address that this session's user logged in with; None without a login, and where nobody draws a page.

    An address that its provider says is not verified proves nothing: it counts as none.
    """
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    context = get_script_run_ctx(suppress_warning=True)
    if context is None or not context.user_info.get("is_logged_in"):
        return None
    found = context.user_info.get("email")
    if not found or context.user_info.get("email_verified") in (False, "false"):
        return None
    return str(found)


def refusal() -> str | None:
    """Why whoever uses this session may change nothing; None where they may. What cannot be told is a no."""
    try:
        settings = policy()
    except UsageError as error:
        return str(error).removesuffix(".")
    except OSError as error:
        return f"secrets.toml, which says who may, cannot be read ({error.strerror})"
    return settings.refusal(email())


def may_change() -> bool:
    """Whether whoever uses this session may change anything."""
    return refusal() is None


def writing_refused(directory: Path) -> str | None:
    """Why whoever asks can write nothing into a directory (made first if need be), in one sentence; None where it can.

    Asked by every page that offers to make a project.
    """
    reason = refusal()
    if reason is not None:
        return f"No project can be made here: {reason}."
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return f"'{place}' is a file: choose another name or folder for the project."
    if not os.access(place, os.W_OK | os.X_OK):
        return f"'{place}' cannot be written by this server: start it with --projects and a folder of yours."
    return None


def enforce() -> None:
    """Have everything that writes ask these settings."""
    set_rule(refusal)


def refusing(callback: Callable[_P, None]) -> Callable[_P, None]:
    """Have a callback that changes something say so where that is refused, rather than fail."""

    @wraps(callback)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            callback(*args, **kwargs)
        except ReadOnlyError as error:
            import streamlit as st

            from dashboard.messages import escaped

            st.toast(escaped(str(error)), icon=":material/lock:")

    return guarded


def secrets() -> Mapping[str, Any]:
    """What secrets.toml says; nothing where there is none."""
    from streamlit.runtime.secrets import secrets_singleton

    if not secrets_singleton.load_if_toml_exists():
        return {}
    return secrets_singleton.to_dict()


def _entries(given: Any, name: str) -> tuple[str, ...] | None:
    """A list of addresses, given as a list or with commas; None where none was given."""
    if given is None:
        return None
    parts = given.split(",") if isinstance(given, str) else given
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise UsageError(
            f"'{name}' of secrets.toml is not a list of e-mail addresses or domains: write {name} = [\"a@b.org\"]."
        )
    return tuple(part.strip() for part in parts if part.strip())
