"""Where the dashboard listens, and what is said about it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from attribution.errors import TracefixError
from dashboard import launch, permission
from dashboard.addresses import AddressError, check_address, is_loopback, url_of
from dashboard.permission import Policy
from tests.command_line import CommandLine


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("tracefix.example.org", False),
    ],
)
def test_only_loopback_addresses_are_this_machine_alone(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


def test_browsers_get_an_address_that_they_can_open() -> None:
    assert url_of("127.0.0.1", 8501) == "http://127.0.0.1:8501"
    assert url_of("0.0.0.0", 8501) == "http://127.0.0.1:8501"
    assert url_of("::1", 80) == "http://[::1]:80"
    assert url_of("192.168.1.7", 80) == "http://192.168.1.7:80"


def test_the_next_free_port_is_that_of_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert launch.free_port(port, "127.0.0.2") == port
        with pytest.raises(launch.PortError, match=str(port)):
            launch.free_port(port, "127.0.0.1")


@pytest.mark.parametrize("address", ["203.0.113.5", "no address", "999.1.1.1", "http://127.0.0.1"])
def test_an_address_of_no_use_is_refused(tracefix: CommandLine, address: str) -> None:
    with pytest.raises(AddressError, match="--address"):
        check_address(address)
    assert "--address" in tracefix.refused("--address", address, "--no-browser", status=2)


def test_options_of_the_dashboard_are_not_for_commands(tracefix: CommandLine) -> None:
    assert "tracefix demo" in tracefix.refused("--read-only", "methods", status=2)
    assert "tracefix demo" in tracefix.refused("--address", "0.0.0.0", "methods", status=2)


@pytest.mark.parametrize(
    ("policy", "address", "words"),
    [
        (Policy(), "127.0.0.1", ""),
        (Policy(), "0.0.0.0", "may read and change"),
        (Policy(read_only=True), "0.0.0.0", "may read the projects"),
        (Policy(login=True), "0.0.0.0", ""),
    ],
)
def test_strangers_are_warned_about_in_one_line(
    policy: Policy,
    address: str,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(permission, "policy", lambda: policy)
    monkeypatch.setattr("dashboard.login.check_login_settings", lambda: None)
    launch._check_access(address)
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == (1 if words else 0) and words in said.err


def test_readers_without_a_login_are_a_mistake_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permission, "policy", lambda: Policy(readers=("example.org",)))
    with pytest.raises(TracefixError, match="no login is configured"):
        launch._check_access("127.0.0.1")


def test_half_a_login_is_said_at_the_start(tmp_path: Path) -> None:
    """In a process of its own: Streamlit reads secrets.toml once, from the folder it is started in."""
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text('[auth]\nclient_id = "tracefix"\n')
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", "from dashboard.cli import run; run()", "--no-browser"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2 and ran.stdout == ""
    assert "redirect_uri" in ran.stderr and "docs/team.md" in ran.stderr and "Traceback" not in ran.stderr
