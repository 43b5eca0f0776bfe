"""The fix tray: chosen training examples with an action each. The URL holds it, the session its undo history."""

from __future__ import annotations

import json
from collections.abc import Sequence

import streamlit as st

from attribution.projects import Edit
from dashboard.state import parameter, set_parameters

_LETTERS = {"upweight": "u", "relabel": "r", "remove": "x"}
_ACTIONS = {letter: action for action, letter in _LETTERS.items()}

MOST_EDITS = 100
"""More are not read from a URL."""


def encoded(edits: Sequence[Edit]) -> str | None:
    """The edits as a short URL parameter; None for an empty tray."""
    if not edits:
        return None
    rows = [
        [edit.train_id, _LETTERS[edit.action], *([edit.label] if edit.label is not None else [])]
        for edit in edits
    ]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def decoded(text: str | None, known_ids: Sequence[str], class_names: Sequence[str]) -> list[Edit]:
    """The edits of a URL parameter; anything that is not an edit of this project is left out."""
    try:
        rows = json.loads(text or "[]")
    except ValueError:
        return []
    edits: dict[str, Edit] = {}
    for row in rows[:MOST_EDITS] if isinstance(rows, list) else []:
        if not (isinstance(row, list) and 2 <= len(row) <= 3 and all(isinstance(part, str) for part in row)):
            continue
        action = _ACTIONS.get(row[1])
        label = row[2] if len(row) == 3 else None
        if action is None or row[0] not in known_ids or (action == "relabel" and label not in class_names):
            continue
        edits[row[0]] = Edit.model_validate({"train_id": row[0], "action": action, "label": label})
    return list(edits.values())


def changed(edits: Sequence[Edit], train_id: str, action: str | None, label: str | None) -> list[Edit]:
    """The edits with one example's action set, or the example taken out (``action`` None)."""
    others = [edit for edit in edits if edit.train_id != train_id]
    if action is None:
        return others
    new = Edit.model_validate({"train_id": train_id, "action": action, "label": label})
    places = [edit.train_id for edit in edits]
    if train_id not in places:
        return [*others, new]
    others.insert(places.index(train_id), new)
    return others


class FixTray:
    """The tray of one test example, as this session sees it."""

    def __init__(self, owner: str, known_ids: Sequence[str], class_names: Sequence[str]) -> None:
        self._owner = owner
        self._known_ids = known_ids
        self._class_names = class_names

    @property
    def edits(self) -> list[Edit]:
        """What is in the tray now."""
        return decoded(parameter("tray"), self._known_ids, self._class_names)

    @property
    def can_undo(self) -> bool:
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        return bool(self._future)

    def put(self, edits: Sequence[Edit]) -> None:
        """Replace what is in the tray; can be undone."""
        self._past.append(parameter("tray"))
        self._future.clear()
        set_parameters(tray=encoded(edits))

    def set(self, train_id: str, action: str | None, label: str | None) -> None:
        """Choose one example with an action, or take it out (``action`` None); can be undone."""
        self.put(changed(self.edits, train_id, action, label))

    def undo(self) -> None:
        """Go back to the tray before the last change."""
        if self._past:
            self._future.append(parameter("tray"))
            set_parameters(tray=self._past.pop())

    def redo(self) -> None:
        """Take back the last undo."""
        if self._future:
            self._past.append(parameter("tray"))
            set_parameters(tray=self._future.pop())

    @property
    def _past(self) -> list[str | None]:
        past: list[str | None] = st.session_state.setdefault(f"tray past {self._owner}", [])
        return past

    @property
    def _future(self) -> list[str | None]:
        future: list[str | None] = st.session_state.setdefault(f"tray future {self._owner}", [])
        return future
