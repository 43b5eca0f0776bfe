"""`tracefix` as a process of its own: the installed script, its streams, and the server it starts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from attribution.projects import Project
from dashboard import launch

SCRIPT = Path(sys.executable).with_name("tracefix")
COMMAND = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-m", "dashboard.cli"]


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300, cwd=cwd, check=False
    )


def get(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as response:
        return str(response.read().decode())


@contextmanager
def dashboard(*arguments: str | Path, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running dashboard and the line in which it says where it is."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        while line and "http://" not in line:
            line = process.stdout.readline()
        assert line, process.communicate(timeout=30)[1]
        yield process, line
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_version_and_help_answer_at_once(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout.startswith("tracefix 0.")
    started = time.monotonic()
    helped = run("--help", cwd=tmp_path)
    assert time.monotonic() - started < 5  # a third of a second on an idle machine; torch alone takes three
    for command in ("demo", "new", "prepare", "mispredictions", "explain", "fix", "methods"):
        assert command in helped.stdout


def test_stdout_is_json_even_when_libraries_and_user_code_write_to_it(tmp_path: Path) -> None:
    """Output from below Python counts too: the task file writes to file descriptor 1."""
    (tmp_path / "task.py").write_text(
        "import os, torch\n"
        "from attribution import Task\n"
        "print('said on import')\n"
        "def build():\n"
        "    os.write(1, b'written to the descriptor\\n')\n"
        "    torch.manual_seed(0)\n"
        "    x = torch.randn(40, 3)\n"
        "    data = torch.utils.data.TensorDataset(x, (x[:, 0] > 0).long())\n"
        "    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))\n"
        "    return Task(model=model, train=data, test=data, class_names=['no', 'yes'])\n"
    )
    made = run("new", "mine", "--task", "task.py:build", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    listed = run("mispredictions", "mine", "--json", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "written to the descriptor" in listed.stderr
    assert all(row["id"] for row in json.loads(listed.stdout))


def test_a_reader_that_stops_early_is_no_error_worth_a_traceback(prepared_digits: Project) -> None:
    process = subprocess.Popen(
        [*COMMAND, "mispredictions", str(prepared_digits.directory), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    process.wait(timeout=60)
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


def test_the_dashboard_answers_on_this_machine_only_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    with dashboard("--no-browser", "--projects", tmp_path / "projects", cwd=tmp_path) as (process, line):
        address = line.split("http://")[1].split("/")[0]
        assert address.startswith("127.0.0.1:")
        assert get(f"http://{address}/_stcore/health") == "ok"
        assert "<html" in get(f"http://{address}/")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def test_the_next_free_port_is_taken(tmp_path: Path) -> None:
    first = launch.free_port()
    with socket.create_server(("127.0.0.1", first)):
        assert launch.free_port() > first


@pytest.mark.slow
def test_demo_opens_on_the_samples_mispredictions(prepared_digits: Project, tmp_path: Path) -> None:
    projects = prepared_digits.directory.parent
    with dashboard("demo", "digits", "--no-browser", "--projects", projects, cwd=tmp_path) as (_, line):
        assert "/mispredictions?project=digits" in line


def test_settings_travel_with_the_app() -> None:
    options = launch.server_options(8765)
    assert options["server.port"] == 8765
    assert options["server.address"] == "127.0.0.1"
    assert options["browser.gatherUsageStats"] is False
    assert options["client.showErrorDetails"] == "none"
    assert options["server.fileWatcherType"] == "none"
    assert any(name.startswith("theme.") for name in options), (
        "the theme is passed on, wherever we are started"
    )


def test_without_a_display_no_text_browser_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert not launch._has_display()
    monkeypatch.setenv("DISPLAY", ":0")
    assert launch._has_display()
    assert os.environ["DISPLAY"] == ":0"
