"""Start the dashboard's server: settings, a free port, the address for people, the browser.

Streamlit runs in this process, which spares the start of a second interpreter.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
import threading
import time
import tomllib
import urllib.request
import webbrowser
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attribution.errors import TracefixError
from dashboard.addresses import THIS_MACHINE, check_address, is_loopback, url_of, why_not
from dashboard.locations import PROJECTS_VARIABLE
from dashboard.permission import READ_ONLY_VARIABLE

FIRST_PORT = 8501
PORTS_TRIED = 100
START_TIMEOUT = 60.0
"""Seconds after which a server that does not answer is no longer waited for."""

_HERE = Path(__file__).resolve().parent
APP = _HERE / "app.py"

_FIXED_OPTIONS: dict[str, Any] = {
    # Streamlit would open the landing page, and write a greeting and advice of its own: `_announce` does both.
    "server.headless": True,
    "logger.hideWelcomeMessage": True,
    "logger.level": "warning",
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "server.fileWatcherType": "none",
}


class PortError(TracefixError):
    """The port that was asked for cannot be listened on."""


def free_port(requested: int | None = None, address: str = THIS_MACHINE) -> int:
    """The requested port at an address, or the first free one from 8501 on.

    Raises:
        PortError: the requested port (or every one tried) is taken.
    """
    if requested is not None:
        problem = why_not(address, requested)
        if problem:
            raise PortError(
                f"Port {requested} cannot be used ({problem}): choose another with --port, or leave --port out "
                "to get the next free one."
            )
        return requested
    for port in range(FIRST_PORT, FIRST_PORT + PORTS_TRIED):
        if not why_not(address, port):
            return port
    raise PortError(
        f"No port from {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1} is free: choose one with --port, or stop a "
        "dashboard that is running."
    )


def serve(
    projects: Path,
    *,
    port: int | None = None,
    address: str = THIS_MACHINE,
    read_only: bool = False,
    open_browser: bool = True,
    page: str = "/",
) -> None:
    """Run the dashboard until it is stopped (Ctrl-C).

    Args:
        projects: folder with the projects that go by name.
        address: where it listens; said on stderr if others can reach it and nobody has to log in.
        read_only: nobody may change anything.
        page: where the browser starts: path and query, for example ``/mispredictions?project=digits``.

    Raises:
        PortError: the requested port is taken.
        AddressError: the address is none of this machine.
        LoginSettingsError: logging in is configured, but cannot work as it is.
    """
    check_address(address)
    chosen = free_port(port, address)
    os.environ[PROJECTS_VARIABLE] = str(projects)
    if read_only:
        os.environ[READ_ONLY_VARIABLE] = "1"
    options = server_options(chosen, address)

    from streamlit.web import bootstrap

    bootstrap.load_config_options(flag_options=options)
    _check_access(address)
    threading.Thread(target=_announce, args=(address, chosen, page, open_browser), daemon=True).start()
    bootstrap.run(str(APP), is_hello=False, args=[], flag_options=options)


def server_options(port: int, address: str = THIS_MACHINE) -> dict[str, Any]:
    """Streamlit's settings by dotted name: the theme that travels with the app, then what must not vary.

    They are given as flags, so that neither the working directory nor an installed copy changes the look.
    """
    options: dict[str, Any] = {}
    for file in (_HERE.parent / ".streamlit" / "config.toml", _HERE / ".streamlit" / "config.toml"):
        if file.is_file():
            options.update(_flattened(tomllib.loads(file.read_text(encoding="utf-8"))))
            break
    return options | _FIXED_OPTIONS | {"server.port": port, "server.address": address}


def _flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _check_access(address: str) -> None:
    """Fail now where logging in is configured and cannot work; warn where strangers could come in."""
    from dashboard.login import check_login_settings
    from dashboard.permission import policy

    check_login_settings()
    settings = policy()
    if settings.login:
        return
    if settings.readers is not None:
        raise TracefixError(
            "Readers are listed, but no login is configured by which to tell them: add an [auth] section to "
            "secrets.toml (docs/team.md), or take the list out."
        )
    if not is_loopback(address):
        allowed = "read" if settings.refusal(None) else "read and change"
        sys.stderr.write(
            f"Warning: everybody who can reach {address} may {allowed} the projects here, because no login is "
            "configured (docs/team.md says how).\n"
        )


def _announce(address: str, port: int, page: str, open_browser: bool) -> None:
    """Wait until the server answers, say where it is, open the browser there, and load the pages meanwhile."""
    base = url_of(address, port)
    deadline = time.monotonic() + START_TIMEOUT
    while not _answers(f"{base}/_stcore/health"):
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
    print(f"Tracefix is at {base}{page} (Ctrl-C stops it)", flush=True)  # noqa: T201 - the one line of this command
    if open_browser and _has_display():
        webbrowser.open(base + page)
    # While the browser loads its own scripts: the first page then comes sooner.
    importlib.import_module("dashboard.app")


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _has_display() -> bool:
    """Whether there is a desktop: without one, Python would start a text browser in this very terminal."""
    if platform.system() != "Linux":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
