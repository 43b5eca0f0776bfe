"""Logging in, where `[auth]` of secrets.toml asks for it: the gate before every page, and the bar that says who one is.

Configuration alone switches it on. Streamlit's own OpenID Connect does the work; who may do what is `permission`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from attribution.errors import TracefixError, UsageError
from dashboard.messages import escaped
from dashboard.permission import Policy, email, policy, secrets


class LoginSettingsError(UsageError):
    """Logging in is configured, but cannot work as it is."""


def providers() -> list[str]:
    """Names of the identity providers of ``[auth]``; ``default`` where it names none."""
    section: Mapping[str, Any] = secrets().get("auth", {})
    named = [name for name, value in section.items() if isinstance(value, Mapping)]
    return named or ["default"]


def check_login_settings() -> None:
    """Say at the start what would fail at the first login.

    Raises:
        LoginSettingsError: a package is missing, or ``[auth]`` lacks something.
        UsageError: a list of people is malformed.
    """
    if not policy().login:
        return
    from streamlit.auth_util import is_authlib_installed, validate_auth_credentials
    from streamlit.errors import StreamlitAuthError

    if not is_authlib_installed():
        raise LoginSettingsError(
            "An [auth] section is configured, but the package for it is not installed: pip install 'tracefix[team]'."
        )
    for name in providers():
        try:
            validate_auth_credentials(name)
        except StreamlitAuthError as error:
            said = " ".join(str(error).split()).replace("`", "").rstrip(".")
            raise LoginSettingsError(f"{said}; docs/team.md has an example.") from error


def gate() -> None:
    """Go on where whoever asks may see the pages; otherwise draw the way in, and the page ends here."""
    try:
        settings = policy()
    except TracefixError as error:
        st.error(escaped(str(error)), icon=":material/error:")
        st.stop()
    if settings.may_open(email()):
        return
    with st.container(width=520, horizontal_alignment="left"):
        st.title("Tracefix", anchor=False)
        if st.user.get("is_logged_in"):
            _turned_away()
        else:
            _way_in()
    st.stop()


def account_bar() -> None:
    """Who is logged in with a way out, and whether they can only look; nothing on a dashboard of one's own."""
    settings = policy()
    who = email()
    refused = settings.refusal(who)
    if who is None and refused is None:
        return
    with st.container(
        horizontal=True,
        horizontal_alignment="right",
        vertical_alignment="center",
        gap="small",
        key="account",
    ):
        if refused is not None:
            st.badge("Read-only", icon=":material/visibility:", color="gray", help=_read_only_help(settings))
        if who is not None:
            st.caption(escaped(who), width="content")
            st.button("Log out", key="log-out", type="tertiary", icon=":material/logout:", on_click=st.logout)


def _read_only_help(settings: Policy) -> str:
    why = "It was started so" if settings.read_only else "You may look at everything"
    return (
        f"{why}: explanations, comparisons and reports work; fixes, verification, notes and preparing are for those "
        "who may edit."
    )


def _way_in() -> None:
    st.markdown("This dashboard is open to those who log in.")
    for name in providers():
        label = "Log in" if name == "default" else f"Log in with {escaped(name.capitalize())}"
        st.button(
            label,
            key=f"log-in-{name}",
            type="primary",
            icon=":material/login:",
            on_click=_log_in,
            args=(name,),
        )


def _log_in(name: str) -> None:
    st.login(None if name == "default" else name)


def _turned_away() -> None:
    known = email()
    if known is None:
        st.warning("Your provider gave no verified e-mail address, by which people are told apart here.")
    else:
        st.warning(f"{escaped(known)} was not given access: ask whoever runs this dashboard.")
    st.button("Log out", key="log-out", icon=":material/logout:", on_click=st.logout)
