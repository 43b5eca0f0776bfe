"""Bad input on the command line: the right exit status and one sentence with the way out, never a traceback."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from attribution.errors import Cancelled
from attribution.projects import Project
from dashboard.addresses import THIS_MACHINE
from tests.command_line import CommandLine


@pytest.mark.parametrize(
    ("project", "hint"),
    [
        ("digitz", "did you mean 'digits'?"),
        ("nothing-like-it", "The samples are 'digits'"),
        ("./missing/folder", "There is no directory"),
    ],
)
@pytest.mark.parametrize(
    "command", ["mispredictions", "check", "prepare", "explain", "fix", "report", "export"]
)
def test_unknown_project(
    tracefix: CommandLine, tmp_path: Path, command: str, project: str, hint: str
) -> None:
    example = {"explain": ["1"], "fix": ["1"]}.get(command, [])
    if command in {"report", "export"}:
        example = ["fix-1", "--output", str(tmp_path / "out")]
    assert hint in tracefix.refused(command, project, *example)


def test_unknown_sample(tracefix: CommandLine) -> None:
    assert "'fashion'" in tracefix.refused("demo", "fashio", "--prepare-only")


@pytest.mark.parametrize("command", ["explain", "fix"])
def test_unknown_example(tracefix: CommandLine, prepared_digits: Project, command: str) -> None:
    near = prepared_digits.mispredictions()[0]["id"]
    sentence = tracefix.refused(command, prepared_digits.directory, near + "x")
    assert near in sentence, "the sentence names an id that exists"


def test_unknown_names_are_refused_before_anything_slow(
    tracefix: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.opening.open_prepared", lambda *_: pytest.fail("nothing must be prepared"))
    empty = ("--projects", tmp_path)
    assert "'tracin'" in tracefix.refused("explain", "digits", "1", "--method", "tracim", *empty)
    assert "tracin" in tracefix.refused("prepare", "digits", "--methods", "grad_dot,tracim", *empty)
    assert "helpers" in tracefix.refused("fix", "digits", "1", "--strategy", "magic", *empty)
    assert "make it first" in tracefix.refused(
        "explain", "digits", "1", "--scores", tmp_path / "no" / "s.npy", *empty
    )
    assert list(tmp_path.iterdir()) == []


def test_unknown_measurements_and_training_examples(tracefix: CommandLine, prepared_digits: Project) -> None:
    example = prepared_digits.mispredictions()[0]["id"]
    explain = ("explain", prepared_digits.directory, example, "--measurement")
    assert "margin" in tracefix.refused(*explain, "happiness", status=2)
    assert "There is no class 'ten'" in tracefix.refused(*explain, "logit:ten")
    assert "There is no file" in tracefix.refused(*explain, "/nowhere/measure.py:chosen")
    assert "'nobody'" in tracefix.refused("fix", prepared_digits.directory, example, "--train-ids", "nobody")


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "digits"],
        ["explain", "digits", "1", "--top", "-3"],
        ["explain", "digits", "1", "--top", "many"],
        ["explain", "digits", "1", "--tops", "3"],
        ["fix", "digits", "1", "--steps", "0"],
        ["fix", "digits", "1", "--top", "3", "--train-ids", "a"],
        ["fix", "digits", "1", "--train-ids", " , "],
        ["fix", "digits", "1", "--train-ids", "a", "--edits", "edits.csv"],
        ["fix", "digits", "1", "--edits", "missing.csv"],
        ["export", "digits", "fix-1"],
        ["report", "digits", "--output", "report.html"],
        ["prepare", "digits", "--device", "abacus"],
        ["prepare", "digits", "--precision", "fp8"],
        ["prepare", "digits", "--methods", ","],
        ["demo", "--prepare-only"],
        ["new", "somewhere"],
        ["new", "somewhere", "--task", "task.py"],
        ["new", "somewhere", "--task", "task.py:build", "--text", "review"],
        ["new", "somewhere", "--task", "task.py:build", "--pair", "reply"],
        ["new", "somewhere", "--model", "m", "--train", "t.csv"],
        ["--port", "70000"],
        ["--port", "8601", "methods"],
        ["frobnicate"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2(tracefix: CommandLine, arguments: list[str]) -> None:
    tracefix.refused(*arguments, status=2)


@pytest.mark.parametrize(
    "command", [[], ["demo"], ["demo", "digits"]], ids=["tracefix", "demo", "demo digits"]
)
def test_a_port_in_use(
    tracefix: CommandLine, tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.locations.ensure_sample", lambda *_: pytest.fail("nothing must be made"))
    with socket.create_server((THIS_MACHINE, 0)) as taken:
        port = str(taken.getsockname()[1])
        sentence = tracefix.refused(*command, "--port", port, "--no-browser", "--projects", tmp_path)
    assert port in sentence
    assert "--port" in sentence


@pytest.mark.parametrize(
    "content",
    ["", "{", '{"format": 1}', '{"format": 99}', "\x00\xff", "[]"],
    ids=["empty", "cut", "short", "new", "binary", "list"],
)
def test_a_corrupt_manifest(tracefix: CommandLine, own_digits: Project, content: str) -> None:
    (own_digits.directory / "project.json").write_bytes(content.encode("latin-1"))
    sentence = tracefix.refused("mispredictions", own_digits.directory)
    assert "project.json" in sentence


def test_a_directory_that_is_no_project(tracefix: CommandLine, tmp_path: Path) -> None:
    assert "tracefix new" in tracefix.refused("mispredictions", tmp_path)


@pytest.mark.parametrize("damage", ["no record", "cut record", "truncated predictions", "index gone"])
def test_a_half_prepared_project_is_prepared_again(
    tracefix: CommandLine, own_digits: Project, prepared_digits: Project, damage: str
) -> None:
    prepared = own_digits.prepared_directory
    if damage == "no record":
        (prepared / "prepared.json").unlink()
    elif damage == "cut record":
        (prepared / "prepared.json").write_text('{"format": 1, "files"')
    elif damage == "truncated predictions":
        file = prepared / "test_predictions.parquet"
        file.write_bytes(file.read_bytes()[:200])
    else:
        next((prepared / "index").glob("point-*/shard-*")).unlink()
    outcome = tracefix("mispredictions", own_digits.directory)
    assert outcome.status == 0, outcome.err
    again = Project.open(own_digits.directory)
    assert again.prepared
    assert again.mispredictions() == prepared_digits.mispredictions()


def test_damage_that_keeps_the_size_is_reported_and_mended_by_prepare(
    tracefix: CommandLine, own_digits: Project
) -> None:
    file = own_digits.prepared_directory / "test_predictions.parquet"
    file.write_bytes(b"\0" * file.stat().st_size)
    assert "tracefix prepare" in tracefix.refused("mispredictions", own_digits.directory)
    assert tracefix("prepare", own_digits.directory).status == 0
    assert tracefix("mispredictions", own_digits.directory).status == 0


def test_a_file_of_the_model_is_missing(tracefix: CommandLine, own_digits: Project) -> None:
    (own_digits.directory / "task.py").unlink()
    assert "task.py" in tracefix.refused("mispredictions", own_digits.directory)


@pytest.mark.parametrize("place", ["a file", "inside a file"])
def test_a_projects_folder_that_cannot_be_written(tracefix: CommandLine, tmp_path: Path, place: str) -> None:
    """Root may write to read-only folders, so the folder is made impossible instead."""
    (tmp_path / "file").write_text("")
    projects = tmp_path / "file" if place == "a file" else tmp_path / "file" / "projects"
    for command in (["mispredictions", "digits"], ["demo", "digits", "--prepare-only"]):
        assert "--projects" in tracefix.refused(*command, "--projects", projects)


def test_a_read_only_project(
    tracefix: CommandLine, own_digits: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (own_digits.prepared_directory / "prepared.json").unlink()
    monkeypatch.setattr(os, "replace", refuse)
    assert "writable" in tracefix.refused("prepare", own_digits.directory)


def test_something_else_in_the_place_of_a_sample(tracefix: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "thesis.txt").write_text("mine")
    assert "not a Tracefix project" in tracefix.refused(
        "demo", "digits", "--prepare-only", "--projects", tmp_path
    )
    assert (tmp_path / "digits" / "thesis.txt").read_text() == "mine"


def test_an_unexpected_error_is_one_line(tracefix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr("attribution.methods.list_methods", fail)
    outcome = tracefix("methods")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        "Unexpected error: ZeroDivisionError: first line second line. Set TRACEFIX_DEBUG=1 to see where.\n"
    )
    monkeypatch.setenv("TRACEFIX_DEBUG", "1")
    assert "Traceback" in tracefix("methods").err


def test_numbers_that_json_cannot_say_are_an_error(
    tracefix: CommandLine, prepared_digits: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Project, "mispredictions", lambda _: [{"loss": float("nan")}])
    assert "not finite" in tracefix.refused("mispredictions", prepared_digits.directory, "--json")


def test_ctrl_c_stops_preparing_and_leaves_nothing_half_written(
    tracefix: CommandLine, own_digits: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_digits.prepared_directory / "prepared.json").unlink()
    from attribution import preparation

    run = preparation._Preparation.run

    def interrupted(self: preparation._Preparation) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        run(self)

    monkeypatch.setattr(preparation._Preparation, "run", interrupted)
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background of a shell
    assert threading.current_thread() is threading.main_thread()
    outcome = tracefix("prepare", own_digits.directory)
    assert outcome.status == 1
    assert outcome.error_line.startswith("Cancelled: ")
    assert not own_digits.prepared
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.undo()
    assert tracefix("prepare", own_digits.directory).status == 0


def test_cancelling_while_a_sample_is_made_leaves_no_folder(
    tracefix: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled(*_: object) -> None:
        raise Cancelled("Cancelled: nothing was changed.")

    monkeypatch.setattr("sample_models.digits.train", cancelled)
    outcome = tracefix("demo", "digits", "--prepare-only", "--projects", tmp_path)
    assert outcome.status == 1
    assert list(tmp_path.iterdir()) == []
