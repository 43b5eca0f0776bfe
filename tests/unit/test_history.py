"""The history: what was kept stays, deleting can be undone, damage is said."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from attribution.errors import NotFoundError, ProjectError
from attribution.projects import History
from tests.unit.fix_records import record


def test_previews_are_found_by_id_but_not_listed_until_kept(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert history.list() == []
    history.save(record("one"), state="preview")
    assert history.get("one").state == "preview" and history.list() == []
    history.keep("one")
    assert [fix.fix_id for fix in history.list()] == ["one"] and history.get("one").state == "kept"


def test_newest_first_notes_and_undo(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.save(record("old", "2026-01-01T00:00:00+00:00"))
    history.save(record("new", "2026-02-01T00:00:00+00:00"))
    assert [fix.fix_id for fix in history.list()] == ["new", "old"]
    history.set_note("old", "<b>looks right</b>")
    assert history.get("old").note == "<b>looks right</b>"
    history.delete("new")
    assert [fix.fix_id for fix in history.list()] == ["old"]
    with pytest.raises(NotFoundError, match="no fix 'new'"):
        history.get("new")
    history.restore("new")
    assert [fix.fix_id for fix in history.list()] == ["new", "old"]


def test_a_fix_from_before_broken_predictions_were_named_still_opens(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.save(record("old"))
    with closing(sqlite3.connect(tmp_path / "history.sqlite")) as connection, connection:
        connection.execute("UPDATE fixes SET record = json_remove(record, '$.newly_broken_as')")
    assert history.get("old").newly_broken_as == {}


def test_a_fix_from_before_guard_and_calibration_still_opens(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.save(record("old"))
    later = ("optimizer", "guard", "stopped", "mcnemar_p", "calibration_before", "calibration_after")
    paths = ", ".join(f"'$.{name}'" for name in later)
    with closing(sqlite3.connect(tmp_path / "history.sqlite")) as connection, connection:
        connection.execute(f"UPDATE fixes SET record = json_remove(record, {paths})")
    old = history.get("old")
    assert old == record("old").model_copy(update={"state": "kept"})
    assert old.stopped is None and old.mcnemar_p is None and old.guard is None


def test_unknown_fixes_and_damage_are_said(tmp_path: Path) -> None:
    history = History(tmp_path)
    for call in (history.get, history.keep, history.delete, history.restore):
        with pytest.raises(NotFoundError, match="open its History"):
            call("nothing")
    (tmp_path / "history.sqlite").write_bytes(b"this is not a database, not even nearly" * 40)
    with pytest.raises(ProjectError, match="is damaged"):
        history.list()
