"""The history of a project: every kept fix and every preview, in one SQLite file."""

from __future__ import annotations

import builtins
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from attribution.errors import NotFoundError, ProjectError
from attribution.projects.access import check_may_change
from attribution.projects.annotations import SCHEMA as _ANNOTATIONS
from attribution.projects.annotations import Annotation
from attribution.projects.records import FixRecord
from attribution.projects.verification_record import VerificationRecord

FILE_NAME = "history.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS fixes (
    fix_id  TEXT PRIMARY KEY,
    created TEXT NOT NULL,
    state   TEXT NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    note    TEXT NOT NULL DEFAULT '',
    record  TEXT NOT NULL,
    kept_by TEXT NOT NULL DEFAULT ''
)
"""

_KEPT_BY = "ALTER TABLE fixes ADD COLUMN kept_by TEXT NOT NULL DEFAULT ''"
"""For a history from before it was recorded."""

_VERIFICATIONS = """
CREATE TABLE IF NOT EXISTS verifications (
    number  INTEGER PRIMARY KEY,
    fix_id  TEXT NOT NULL,
    created TEXT NOT NULL,
    record  TEXT NOT NULL
)
"""


WAITING = 30.0
"""Seconds that a reader or writer waits for those before it; a save takes milliseconds."""


class History:
    """Fixes of one project. Deleting is soft, so that it can be undone.

    Each call opens its own connection and is one transaction: threads and processes may share the file, and a process
    that is killed loses at most what it was writing. SQLite keeps a rollback journal, not a write-ahead log: that
    would need memory shared between the processes, which network drives do not have, would leave two more files that a
    copy of the project can miss, and could not be opened in a folder that is read only.
    """

    def __init__(self, directory: Path) -> None:
        self._file = directory / FILE_NAME

    def save(self, fix: FixRecord, state: Literal["kept", "preview"] = "kept") -> None:
        """Store a fix, replacing an earlier version of the same id."""
        with self._connection(writing=True) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO fixes (fix_id, created, state, deleted, note, record, kept_by) "
                "VALUES (?, ?, ?, 0, ?, ?, ?)",
                (
                    fix.fix_id,
                    fix.created,
                    state,
                    fix.note,
                    fix.model_dump_json(by_alias=True),
                    fix.kept_by or "",
                ),
            )

    def list(self) -> list[FixRecord]:
        """Kept fixes that are not deleted, newest first."""
        if not self._file.exists():
            return []
        with self._connection() as connection:
            rows = connection.execute(
                f"SELECT record, note, state, {_kept_by(connection)} FROM fixes WHERE state = 'kept' AND deleted = 0 "
                "ORDER BY created DESC, rowid DESC"
            ).fetchall()
        return [_record(*row) for row in rows]

    def get(self, fix_id: str, *, deleted: bool = False) -> FixRecord:
        """A fix by its id, previews included; with ``deleted`` also one that was deleted.

        Raises:
            NotFoundError: no such fix, or it was deleted.
        """
        row = None
        if self._file.exists():
            with self._connection() as connection:
                row = connection.execute(
                    f"SELECT record, note, state, {_kept_by(connection)} FROM fixes WHERE fix_id = ? AND deleted <= ?",
                    (fix_id, int(deleted)),
                ).fetchone()
        if row is None:
            raise NotFoundError(
                f"There is no fix '{fix_id}' in this project: open its History to see the kept ones."
            )
        return _record(*row)

    def stack(self, fix_id: str) -> builtins.list[FixRecord]:
        """The fixes beneath a fix and the fix itself, the first one first; one that was deleted still bears others.

        Raises:
            NotFoundError: one of them is not in the history.
            ProjectError: a fix stands on itself.
        """
        found: builtins.list[FixRecord] = []
        wanted: str | None = fix_id
        while wanted is not None:
            if wanted in [fix.fix_id for fix in found]:
                raise ProjectError(f"The fix '{fix_id}' stands on itself in this history: make the fix anew.")
            try:
                found.append(self.get(wanted, deleted=True))
            except NotFoundError as error:
                if not found:
                    raise
                raise NotFoundError(
                    f"The fix '{wanted}', on which '{found[-1].fix_id}' stands, is not in this project: make the fix "
                    "anew."
                ) from error
            wanted = found[-1].base
        return found[::-1]

    def keep(self, fix_id: str, *, by: str | None = None) -> None:
        """Turn a preview into a kept fix, also where it was discarded meanwhile in another tab.

        Args:
            by: who keeps it; None where nobody has to log in.
        """
        self._update("state = 'kept', deleted = 0, kept_by = ?", (by or "",), fix_id)

    def set_note(self, fix_id: str, note: str) -> None:
        """Replace the note of a fix."""
        self._update("note = ?", (note,), fix_id)

    def delete(self, fix_id: str) -> None:
        """Hide a fix; `restore` brings it back."""
        self._update("deleted = 1", (), fix_id)

    def restore(self, fix_id: str) -> None:
        """Undo `delete`."""
        self._update("deleted = 0", (), fix_id)

    def save_verification(self, verification: VerificationRecord) -> None:
        """Store what retraining gave; earlier verifications of the same fix stay in the file."""
        with self._connection(writing=True) as connection:
            connection.execute(_VERIFICATIONS)
            connection.execute(
                "INSERT INTO verifications (fix_id, created, record) VALUES (?, ?, ?)",
                (verification.fix_id, verification.created, verification.model_dump_json()),
            )

    def verification(self, fix_id: str | None = None) -> VerificationRecord | None:
        """The latest verification of a fix, or of any fix; None where there is none."""
        if not self._file.exists():
            return None
        with self._connection() as connection:
            if not _has_table(connection, "verifications"):
                return None
            row = connection.execute(
                "SELECT record FROM verifications WHERE ? IS NULL OR fix_id = ? ORDER BY number DESC LIMIT 1",
                (fix_id, fix_id),
            ).fetchone()
        return None if row is None else VerificationRecord.model_validate_json(row[0])

    def annotate(self, split: str, example_id: str, annotation: Annotation) -> None:
        """Store the note and tags of an example in place of those it had; an empty annotation takes them away."""
        with self._connection(writing=True) as connection:
            connection.execute(_ANNOTATIONS)
            if annotation.empty:
                connection.execute(
                    "DELETE FROM annotations WHERE split = ? AND example_id = ?", (split, example_id)
                )
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO annotations (split, example_id, record) VALUES (?, ?, ?)",
                    (split, example_id, annotation.model_dump_json()),
                )

    def annotations(self, split: str) -> dict[str, Annotation]:
        """Notes and tags of the examples of a split, by id."""
        if not self._file.exists():
            return {}
        with self._connection() as connection:
            if not _has_table(connection, "annotations"):
                return {}
            rows = connection.execute(
                "SELECT example_id, record FROM annotations WHERE split = ?", (split,)
            ).fetchall()
        return {example_id: Annotation.model_validate_json(record) for example_id, record in rows}

    def _update(self, assignment: str, values: tuple[str, ...], fix_id: str) -> None:
        changed = 0
        if self._file.exists():
            with self._connection(writing=True) as connection:
                changed = connection.execute(
                    f"UPDATE fixes SET {assignment} WHERE fix_id = ?", (*values, fix_id)
                ).rowcount
        if not changed:
            raise NotFoundError(
                f"There is no fix '{fix_id}' in this project: open its History to see the kept ones."
            )

    @contextmanager
    def _connection(self, *, writing: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction, which is taken back on any error.

        A writer asks for the lock before it reads: two that had read already would wait for each other. Whoever may
        change nothing never becomes one.
        """
        if writing:
            check_may_change("change the history")
        try:
            connection = sqlite3.connect(self._file, timeout=WAITING, isolation_level=None)
            try:
                connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
                connection.execute(_SCHEMA)
                if writing and not _has_kept_by(connection):
                    connection.execute(_KEPT_BY)
                yield connection
                connection.execute("COMMIT")
            finally:
                connection.close()  # what was not committed is taken back
        except sqlite3.OperationalError as error:
            raise ProjectError(self._why_not(error)) from error
        except sqlite3.DatabaseError as error:
            raise ProjectError(
                f"The history '{self._file}' is damaged ({error}): move it away; a new one is made by itself."
            ) from error

    def _why_not(self, error: sqlite3.OperationalError) -> str:
        if "locked" in str(error):
            return (
                f"The history '{self._file}' has been in use by another program for {WAITING:.0f} s: close what holds "
                "it open and try again."
            )
        return (
            f"The history '{self._file}' cannot be written ({error}): make the folder writable, free some space, and "
            "try again."
        )


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether a table is there: it is made by the first save, as looking must not need a folder that can be written."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,))
    return found.fetchone() is not None


def _has_kept_by(connection: sqlite3.Connection) -> bool:
    return any(name == "kept_by" for _, name, *_ in connection.execute("PRAGMA table_info(fixes)"))


def _kept_by(connection: sqlite3.Connection) -> str:
    """What to select for it: a history that was only read since does not have the column."""
    return "kept_by" if _has_kept_by(connection) else "''"


def _record(record: str, note: str, state: str, kept_by: str) -> FixRecord:
    fix = FixRecord.model_validate_json(record)
    return fix.model_copy(update={"note": note, "state": state, "kept_by": kept_by or None})
