"""Who may look and who may change: the rule itself, and that everything which writes asks it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from attribution import Engine, prepare
from attribution.errors import UsageError
from attribution.projects import History, Project
from attribution.projects.access import ReadOnlyError, check_may_change, decided, refusal, set_rule
from attribution.projects.files import building, write_text
from attribution.projects.ledger import Ledger
from dashboard import permission
from dashboard.jobs import JobQueue
from dashboard.locations import ensure_sample
from dashboard.permission import Policy, listed
from tests.directory_contents import contents
from tests.unit.fix_records import record


@pytest.fixture
def read_only() -> Iterator[None]:
    set_rule(lambda: "somebody said so")
    yield
    set_rule(None)


@pytest.mark.parametrize(
    ("email", "entries", "expected"),
    [
        ("ann@example.org", ["ann@example.org"], True),
        ("Ann@Example.ORG", ["ann@example.org"], True),
        ("ann@example.org", [" ANN@example.org "], True),
        ("ann@example.org", ["@example.org"], True),
        ("ann@example.org", ["example.org"], True),
        ("ann@EXAMPLE.org", ["@Example.Org"], True),
        ("ann@lab.example.org", ["example.org"], False),
        ("ann@notexample.org", ["example.org"], False),
        ("ann@example.org.evil.net", ["example.org"], False),
        ("bob@example.org", ["ann@example.org"], False),
        ("example.org", ["example.org"], False),
        ("@example.org", ["example.org"], False),
        ("ann@", ["ann@", "@"], False),
        ("a@evil.net@example.org", ["example.org"], False),
        ("ann@example.org", [], False),
        ("ann@example.org", [""], False),
        (None, ["example.org"], False),
    ],
)
def test_an_address_is_listed_by_itself_or_by_its_whole_domain(
    email: str | None, entries: list[str], expected: bool
) -> None:
    assert listed(email, entries) is expected


ANN, BOB, EVE = "ann@example.org", "bob@readers.org", "eve@evil.net"


@pytest.mark.parametrize(
    ("policy", "may_open", "may_change"),
    [
        (Policy(), {None, ANN}, {None, ANN}),
        (Policy(read_only=True), {None, ANN}, set()),
        (Policy(login=True), {ANN, BOB, EVE}, {ANN, BOB, EVE}),
        (Policy(login=True, editors=(ANN,)), {ANN, BOB, EVE}, {ANN}),
        (Policy(login=True, editors=(ANN,), readers=("readers.org",)), {ANN, BOB}, {ANN}),
        (Policy(login=True, editors=()), {ANN, BOB, EVE}, set()),
        (Policy(login=True, readers=(BOB,)), {BOB}, {BOB}),
        (Policy(login=True, editors=(ANN,), read_only=True), {ANN, BOB, EVE}, set()),
        (Policy(editors=(ANN,)), {None, ANN}, {ANN}),
    ],
)
def test_who_gets_in_and_who_may_change(
    policy: Policy, may_open: set[str | None], may_change: set[str | None]
) -> None:
    people = {None, ANN, BOB, EVE}
    if policy.login:
        assert {who for who in people if policy.may_open(who)} == may_open
    assert {who for who in {*may_open, None, EVE} if policy.refusal(who) is None} >= may_change
    assert {who for who in people if policy.refusal(who) is None} & may_open == may_change


def test_what_cannot_be_read_of_the_settings_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permission, "secrets", lambda: {"tracefix": {"editors": 7}})
    with pytest.raises(UsageError, match="not a list"):
        permission.policy()
    assert permission.refusal() is not None


def test_settings_come_from_secrets_and_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        permission, "secrets", lambda: {"auth": {}, "tracefix": {"editors": [ANN], "readers": "b@c.d, e.f"}}
    )
    assert permission.policy() == Policy(login=True, editors=(ANN,), readers=("b@c.d", "e.f"))
    monkeypatch.setenv(permission.EDITORS_VARIABLE, f"{BOB},example.org")
    monkeypatch.setenv(permission.READ_ONLY_VARIABLE, "1")
    assert permission.policy().editors == (BOB, "example.org") and permission.policy().read_only


def test_without_a_page_and_with_a_login_nobody_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that belongs to nobody: what cannot be told is a no."""
    monkeypatch.setattr(permission, "secrets", lambda: {"auth": {}})
    assert permission.email() is None and permission.refusal() == "you are not logged in"


def test_everything_that_writes_asks(
    tmp_path: Path, prepared_digits: Project, own_digits: Project, request: pytest.FixtureRequest
) -> None:
    history = History(tmp_path)
    history.save(record("one"), state="preview")
    (own_digits.prepared_directory / "prepared.json").unlink()
    before = contents(tmp_path), contents(prepared_digits.directory)
    request.getfixturevalue("read_only")
    writes = [
        lambda: history.save(record("two")),
        lambda: history.keep("one"),
        lambda: history.set_note("one", "note"),
        lambda: history.delete("one"),
        lambda: history.restore("one"),
        lambda: write_text(tmp_path / "file", "text"),
        lambda: building(tmp_path / "folder", occupied="").__enter__(),
        lambda: Ledger.resumed(tmp_path / "index", {}),
        lambda: ensure_sample("digits", tmp_path / "elsewhere"),
        lambda: prepare(own_digits),
        lambda: Engine(prepared_digits, device="cpu").explain(
            prepared_digits.mispredictions()[0]["id"], method="trak"
        ),
    ]
    for write in writes:
        with pytest.raises(ReadOnlyError, match=r"^Cannot .*: somebody said so\.$"):
            write()
    assert history.get("one").state == "preview" and history.list() == []
    assert (contents(tmp_path), contents(prepared_digits.directory)) == before


def test_reading_and_explaining_go_on(prepared_digits: Project, read_only: None) -> None:
    before = contents(prepared_digits.directory)
    example = prepared_digits.mispredictions()[0]
    explanation = Engine(prepared_digits, device="cpu").explain(example["id"])
    assert len(explanation.culprits(10)) == 10
    assert contents(prepared_digits.directory) == before


def test_work_may_do_what_whoever_asked_for_it_may(tmp_path: Path) -> None:
    queue, file = JobQueue(), tmp_path / "file"

    def ask(refused: str | None, *, key: str = "work") -> object:
        with decided(refused):
            job = queue.submit(
                lambda reporter: write_text(file, "text"), key=key, kind="work", title="Work", lane="lane"
            )
        assert job.wait(20)
        return job

    set_rule(lambda: "nobody is asking")  # what the worker's thread would say of itself
    try:
        reader = ask("a reader")
        assert reader.state == "failed" and "a reader" in str(reader.error) and not file.exists()
        editor = ask(None)
        assert editor is not reader, "an editor's work is not that which was refused to a reader"
        assert editor.state == "done" and file.read_text() == "text"
        assert ask("a reader") is editor, "what an editor had done is shown to readers, too"
    finally:
        set_rule(None)
    with decided("a reader"), pytest.raises(ReadOnlyError):
        queue.cancel(editor)


def test_a_decision_ends_with_its_block() -> None:
    with decided("no"):
        assert refusal() == "no"
    assert refusal() is None
    check_may_change("do this")


def test_who_kept_a_fix_is_remembered(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.save(record("one"), state="preview")
    assert history.get("one").kept_by is None
    history.keep("one", by="ann@example.org")
    assert history.get("one").kept_by == "ann@example.org"
    history.set_note("one", "note")
    assert [fix.kept_by for fix in history.list()] == ["ann@example.org"]


def test_a_history_from_before_keepers_were_recorded_still_opens_and_can_be_kept(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.save(record("old"), state="kept")
    with closing(sqlite3.connect(tmp_path / "history.sqlite")) as connection, connection:
        connection.execute("ALTER TABLE fixes DROP COLUMN kept_by")
    assert history.get("old").kept_by is None and len(history.list()) == 1
    history.keep("old", by="ann@example.org")
    assert history.get("old").kept_by == "ann@example.org"
