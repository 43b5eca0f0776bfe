"""Texts and ids from the values of a table, exactly as they stand there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from attribution.errors import ProjectError
from attribution.sources.tables.table import LONGEST_FIELD

_PRINTED = (str, int, float, bool, Decimal, datetime, date, time)
"""Values that are text, or have an obvious one."""


def is_missing(value: Any) -> bool:
    """Whether a table says that there is no value."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def texts_of(values: Sequence[Any], file: Path, column: str, start: int) -> list[str]:
    """The values of a text column; a missing one is empty.

    Args:
        start: rows before these, for messages.

    Raises:
        ProjectError: a value is no text, or one that cannot be shown or stored, naming the row.
    """
    if all(type(value) is str for value in values) and not _problem_in(values):
        return list(values)
    found = []
    for row, value in enumerate(values, start=start + 1):
        text = value if type(value) is str else _text(value, file, column, row)
        problem = _problem(text)
        if problem:
            raise ProjectError(
                f"'{file}' row {row} {problem[0]} in column '{column}': {problem[1]} or drop that row."
            )
        found.append(text)
    return found


def ids_of(values: Sequence[Any], file: Path, column: str, start: int) -> list[str]:
    """The values of an id column as text.

    Raises:
        ProjectError: an id is missing or no text, naming the row.
    """
    for row, value in enumerate(values, start=start + 1):
        if is_missing(value) or value == "":
            raise ProjectError(
                f"'{file}' row {row} has no id in column '{column}': give every row one, or leave the id column out."
            )
    return texts_of(values, file, column, start)


def _text(value: Any, file: Path, column: str, row: int) -> str:
    if is_missing(value):
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            pass
    elif isinstance(value, _PRINTED):
        return str(value)
    kind = {"dict": "an object", "bytes": "bytes that are no text"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )
    raise ProjectError(
        f"'{file}' row {row} holds {kind} in column '{column}', no text: name a column of texts."
    )


def _problem_in(texts: Sequence[str]) -> bool:
    """Whether `_problem` may find something in one of the texts: asked of all at once, as most tables are sound."""
    together = "".join(texts)
    return "\0" in together or not _encodable(together) or any(len(text) > LONGEST_FIELD for text in texts)


def _encodable(text: str) -> bool:
    """Whether all of it are characters: JSON can hold halves of surrogate pairs, and Python keeps them."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _problem(text: str) -> tuple[str, str] | None:
    """What is wrong with a text that no model or page can be given, and what to do; None where nothing is."""
    if len(text) > LONGEST_FIELD:
        return f"holds a text of {len(text):,} characters", f"shorten it to {LONGEST_FIELD:,}"
    if "\0" in text:
        return "holds a NUL character", "remove it"
    if not _encodable(text):
        return "holds half a surrogate pair, which is no character", "remove it"
    return None
