"""A real server on a free port, and Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from attribution import create_project
from attribution.projects import Manifest, Project, TaskSource
from tests.chromium import launched
from tests.conftest import copied

START_PATIENCE = 60.0

PROGRAM = "from dashboard.cli import run; run()"

expect.set_options(timeout=30_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder drives a browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass(frozen=True)
class Server:
    """A running dashboard and the folder of its projects."""

    address: str
    projects: Path


def start_server(
    arguments: list[str], log: Path, cwd: Path | None = None
) -> tuple[subprocess.Popen[bytes], str]:
    """Start a Python program that serves pages; PORT in its arguments is a free port. Waits until it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, *(argument.replace("PORT", str(port)) for argument in arguments)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=cwd, env=_environment())
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_PATIENCE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        try:
            with opener.open(f"{address}/_stcore/health", timeout=1):
                return process, address
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    process.kill()
    raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")


def _environment() -> dict[str, str]:
    """That of this process, with the code under test found from any folder."""
    root = str(Path(__file__).parents[2])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }


@pytest.fixture(scope="session")
def server(untouched_digits: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over a copy of prepared `digits` and a text project made to be hostile."""
    projects = tmp_path_factory.mktemp("browser-projects")
    copied(untouched_digits, projects)
    hostile = projects / "hostile"
    hostile.mkdir()
    shutil.copy(Path(__file__).with_name("hostile_task.py"), hostile / "task.py")
    from attribution import prepare

    source = TaskSource(file="task.py", function="build")
    title = "Words <script>window.harmed=1</script> *that* :red[try]"
    prepare(create_project(hostile, Manifest(name="hostile", title=title, source=source)), device="cpu")
    arguments = ["-c", PROGRAM, "--port", "PORT", "--no-browser", "--projects", str(projects)]
    process, address = start_server(arguments, tmp_path_factory.mktemp("logs") / "server.log")
    yield Server(address, projects)
    process.terminate()
    process.wait(timeout=60)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One Chromium for all tests."""
    with sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser, server: Server) -> Iterator[BrowserContext]:
    """A fresh profile: no test sees another one's session."""
    fresh = chromium.new_context(
        base_url=server.address, viewport={"width": 1440, "height": 900}, color_scheme="light"
    )
    yield fresh
    fresh.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab; at its end nothing may have gone wrong: no traceback on the page, no error in its scripts, and not one
    request to another machine."""
    tab = context.new_page()
    failures: list[str] = []
    tab.on("pageerror", lambda error: failures.append(str(error)))
    tab.on("request", lambda request: failures.append(request.url) if _leaves(request.url) else None)
    yield tab
    expect(tab.get_by_test_id("stException")).to_have_count(0)
    assert not failures, failures


def _leaves(url: str) -> bool:
    """Whether a request goes to another machine."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1"
