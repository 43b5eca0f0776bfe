"""Start the dashboard's server: settings, a free port, the address for people, the browser.

Streamlit runs in this process, which spares the start of a second interpreter.
"""

from __future__ import annotations

import importlib
import os
import platform
import socket
import threading
import time
import tomllib
import urllib.request
import webbrowser
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attribution.errors import TracefixError
from dashboard.locations import PROJECTS_VARIABLE

ADDRESS = "127.0.0.1"
"""Only this machine: the dashboard reads any project directory its user can read."""

FIRST_PORT = 8501
PORTS_TRIED = 100
START_TIMEOUT = 60.0
"""Seconds after which a server that does not answer is no longer waited for."""

_HERE = Path(__file__).resolve().parent
APP = _HERE / "app.py"

_FIXED_OPTIONS: dict[str, Any] = {
    "server.address": ADDRESS,
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


def free_port(requested: int | None = None) -> int:
    """The requested port, or the first free one from 8501 on.

    Raises:
        PortError: the requested port (or every one tried) is taken.
    """
    if requested is not None:
        problem = _why_not(requested)
        if problem:
            raise PortError(
                f"Port {requested} cannot be used ({problem}): choose another with --port, or leave --port out "
                "to get the next free one."
            )
        return requested
    for port in range(FIRST_PORT, FIRST_PORT + PORTS_TRIED):
        if not _why_not(port):
            return port
    raise PortError(
        f"No port from {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1} is free: choose one with --port, or stop a "
        "dashboard that is running."
    )


def serve(projects: Path, *, port: int | None = None, open_browser: bool = True, page: str = "/") -> None:
    """Run the dashboard until it is stopped (Ctrl-C).

    Args:
        projects: folder with the projects that go by name.
        page: where the browser starts: path and query, for example ``/mispredictions?project=digits``.

    Raises:
        PortError: the requested port is taken.
    """
    chosen = free_port(port)
    os.environ[PROJECTS_VARIABLE] = str(projects)
    options = server_options(chosen)
    threading.Thread(target=_announce, args=(chosen, page, open_browser), daemon=True).start()

    from streamlit.web import bootstrap

    bootstrap.load_config_options(flag_options=options)
    bootstrap.run(str(APP), is_hello=False, args=[], flag_options=options)


def server_options(port: int) -> dict[str, Any]:
    """Streamlit's settings by dotted name: the theme that travels with the app, then what must not vary.

    They are given as flags, so that neither the working directory nor an installed copy changes the look.
    """
    options: dict[str, Any] = {}
    for file in (_HERE.parent / ".streamlit" / "config.toml", _HERE / ".streamlit" / "config.toml"):
        if file.is_file():
            options.update(_flattened(tomllib.loads(file.read_text(encoding="utf-8"))))
            break
    return options | _FIXED_OPTIONS | {"server.port": port}


def _flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _why_not(port: int) -> str | None:
    """None if the port can be listened on, else the reason."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # elsewhere the option lets two servers share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return None


def _announce(port: int, page: str, open_browser: bool) -> None:
    """Wait until the server answers, say where it is, open the browser there, and load the pages meanwhile."""
    base = f"http://{ADDRESS}:{port}"
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
