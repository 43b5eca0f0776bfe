"""What happens to a project when work on it is cut short, or comes from several sides at once: nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from attribution import Engine
from attribution.errors import Cancelled, ProjectError
from attribution.progress import CancelToken, Reporter
from attribution.projects import History, Project
from attribution.projects import history as history_module
from tests.directory_contents import contents
from tests.unit.fix_records import record

NOBODY = 65534
"""The user id that has no rights of its own."""

KEEPING = """
import sys
from pathlib import Path
from attribution.projects import History
from tests.unit.fix_records import record
history, name = History(Path(sys.argv[1])), sys.argv[2]
for number in range(100_000):
    fix_id = f"{name}-{number}"
    print("begin", fix_id, flush=True)
    history.save(record(fix_id, versions={str(n): "1.0" * 20 for n in range(200)}), state="preview")
    history.keep(fix_id)
    print("kept", fix_id, flush=True)
"""

KILLED_BEFORE_COMMIT = """
import os, signal, sys
from pathlib import Path
from attribution.projects import History
history = History(Path(sys.argv[1]))
with history._connection(writing=True) as connection:
    connection.execute("PRAGMA cache_size = 1")  # half-done work goes to the file, as it does on a full memory
    connection.execute("UPDATE fixes SET note = ?, state = 'preview'", ("half done " * 2000,))
    os.kill(os.getpid(), signal.SIGKILL)
"""

SHARING = """
import sys
from pathlib import Path
from tests.unit.test_robustness import work_of_many_threads
work_of_many_threads(Path(sys.argv[1]), sys.argv[2])
"""

THREADS, ROUNDS = 4, 8


def started(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def whole(directory: Path) -> bool:
    with closing(sqlite3.connect(directory / "history.sqlite")) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def work_of_many_threads(directory: Path, name: str) -> None:
    """Each thread saves, keeps, annotates and deletes fixes of its own while all others do."""
    failures: list[Exception] = []

    def work(thread: int) -> None:
        history = History(directory)
        try:
            for number in range(ROUNDS):
                fix_id = f"{name}-{thread}-{number}"
                history.save(record(fix_id), state="preview")
                history.keep(fix_id)
                history.set_note(fix_id, fix_id)
                assert fix_id in {fix.fix_id for fix in history.list()}
                if number % 3 == 0:
                    history.delete(fix_id)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_kill_during_keeps_loses_at_most_the_one_being_kept(tmp_path: Path) -> None:
    chance = random.Random(0)
    finished: set[str] = set()
    for attempt in range(6):
        process = started(KEEPING, tmp_path, attempt)
        assert process.stdout is not None
        process.stdout.readline()  # imported, and at work
        first = process.stdout.readline()  # one is kept; how long that takes depends on what else runs here
        timer = threading.Timer(0.02 + 0.1 * chance.random(), process.send_signal, [signal.SIGKILL])
        timer.start()
        said = [line.split() for line in (first, *process.stdout)]
        timer.join()
        assert process.wait() == -signal.SIGKILL
        mine = {words[1] for words in said if len(words) == 2 and words[0] == "kept"}
        finished |= mine
        listed = {fix.fix_id for fix in History(tmp_path).list()}
        assert finished <= listed and len(listed - finished) <= 1  # kept, and killed before it could say so
        finished |= listed
        assert mine, "nothing was kept"
        assert whole(tmp_path)
    History(tmp_path).save(record("after all"))
    assert History(tmp_path).get("after all").state == "kept"


def test_what_was_written_but_not_committed_is_taken_back(tmp_path: Path) -> None:
    history = History(tmp_path)
    for number in range(30):
        history.save(record(f"fix-{number}"))
    before = (tmp_path / "history.sqlite").read_bytes()
    process = started(KILLED_BEFORE_COMMIT, tmp_path)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "history.sqlite").read_bytes() != before, "nothing half done was written"
    kept = history.list()
    assert {fix.fix_id for fix in kept} == {f"fix-{number}" for number in range(30)}
    assert {fix.note for fix in kept} == {""} and whole(tmp_path)


def test_threads_and_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    processes = [started(SHARING, tmp_path, name) for name in ("a", "b")]
    for process in processes:
        _, complaints = process.communicate()
        assert process.returncode == 0, complaints
    expected = {
        f"{name}-{thread}-{number}"
        for name in ("a", "b")
        for thread in range(THREADS)
        for number in range(ROUNDS)
        if number % 3
    }
    kept = History(tmp_path).list()
    assert {fix.fix_id for fix in kept} == expected == {fix.note for fix in kept}
    assert whole(tmp_path)


def test_a_history_held_by_another_program_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "WAITING", 0.1)
    History(tmp_path).save(record("one"))
    with closing(sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ProjectError, match="in use by another program"):
            History(tmp_path).keep("one")
    History(tmp_path).keep("one")


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Without root's right to write everywhere, where the tests run as root."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_project_shows_its_history() -> None:
    # Not in pytest's own folder, into which nobody else may look.
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        History(place).save(record("one"))
        (place / "history.sqlite").chmod(0o444)
        place.chmod(0o555)
        try:
            with ordinary_user():
                assert History(place).get("one").fix_id == "one"
                with pytest.raises(ProjectError, match="make the folder writable"):
                    History(place).keep("one")
        finally:
            place.chmod(0o755)


def test_keeping_a_fix_that_another_tab_discarded_keeps_it(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.save(record("one"), state="preview")
    history.delete("one")
    history.keep("one")
    assert [fix.fix_id for fix in history.list()] == ["one"]


class Stopping:
    """Progress that asks for a stop once it has come so far."""

    def __init__(self, at: float) -> None:
        self.token = CancelToken()
        self.reached = 0.0
        self._at = at

    def __call__(self, fraction: float, message: str) -> None:
        self.reached = max(self.reached, fraction)
        if fraction >= self._at:
            self.token.cancel()


@pytest.mark.parametrize("at", [0.0, 0.1, 0.22, 0.3, 0.45, 0.6, 0.85])
def test_a_cancelled_fix_leaves_project_and_model_as_they_were(own_digits: Project, at: float) -> None:
    engine = Engine(own_digits, device="cpu")
    wrong = own_digits.mispredictions()[3]["id"]
    engine.explain(wrong)  # what explaining adds to the index is no part of a fix
    before = contents(own_digits.directory)
    weights = {name: tensor.clone() for name, tensor in engine.task.model.state_dict().items()}
    stopping = Stopping(at)
    with pytest.raises(Cancelled):
        engine.fix(wrong, reporter=Reporter(stopping, stopping.token))
    assert stopping.reached < 1
    assert contents(own_digits.directory) == before
    assert all(bool((weights[name] == t).all()) for name, t in engine.task.model.state_dict().items())
    again, fresh = engine.fix(wrong), Engine(own_digits, device="cpu").fix(wrong)
    assert again.after == fresh.after and again.steps == fresh.steps


FIXING = """
import sys
from attribution import Engine, Project
from attribution.progress import Reporter
project = Project.open(sys.argv[1])
def say(fraction, message):
    print(fraction, flush=True)
print("ready", flush=True)
engine = Engine(project, device="cpu")
for wrong in project.mispredictions():
    project.history.save(engine.fix(wrong["id"], reporter=Reporter(say)))
"""


def test_a_fix_killed_at_work_leaves_the_project_usable(own_digits: Project) -> None:
    wrong = own_digits.mispredictions()[3]["id"]
    expected = Engine(own_digits, device="cpu").fix(wrong)
    before = contents(own_digits.directory)
    process = started(FIXING, own_digits.directory)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() != "ready" and 0.4 < float(line) < 1:
            process.kill()
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert contents(own_digits.directory) == before
    project = Project.open(own_digits.directory)
    assert project.prepared and project.history.list() == []
    assert Engine(project, device="cpu").fix(wrong).after == expected.after


def test_two_fixes_at_once_are_both_kept_and_the_same_as_alone(own_digits: Project) -> None:
    """As two tabs of one dashboard (one engine) and a command line beside it (an engine of its own) do."""
    wrongs = [row["id"] for row in own_digits.mispredictions()[:3]]
    shared, other = Engine(own_digits, device="cpu"), Engine(own_digits, device="cpu")
    alone = {wrong: Engine(own_digits, device="cpu").fix(wrong).after for wrong in wrongs}
    failures: list[Exception] = []

    def work(engine: Engine, test_id: str) -> None:
        try:
            own_digits.history.save(engine.fix(test_id))
        except Exception as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=pair)
        for pair in ((shared, wrongs[0]), (shared, wrongs[1]), (other, wrongs[2]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {fix.test_id: fix.after for fix in own_digits.history.list()} == alone
