"""The beginning of a table of the user's, and its labels, as rows of the table component: text only, never markup."""

from __future__ import annotations

import base64
import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dashboard.components.table import Column, Row
from dashboard.own_tables import FoundTable, LabelCount

SHOWN_ROWS, SHOWN_COLUMNS, SHOWN_LETTERS, SHOWN_LABELS = 4, 8, 160, 60
EDGE = 96
"""Of a thumbnail, in pixels."""

_LARGEST = 50_000_000
"""Pixels of a picture; a larger one is not unpacked for a thumbnail."""


def preview_rows(found: FoundTable, used: dict[str, str]) -> tuple[list[Column], list[Row]]:
    """The first rows of a table, the columns in use first.

    Args:
        used: what a column is used for, by its name: "text", "image", "label" or "id".
    """
    names = [*used, *(name for name in found.columns if name not in used)][:SHOWN_COLUMNS]
    columns = [
        Column(
            key=str(number),
            title=f"{visible(name)} ({used[name]})" if name in used else visible(name),
            kind="example" if used.get(name) == "image" else "text" if name in used else "muted",
        )
        for number, name in enumerate(names)
    ]
    by_name = {str(column): column for column in found.rows.columns}
    rows = []
    for position in range(min(SHOWN_ROWS, len(found.rows))):
        cells: dict[str, Any] = {}
        for number, name in enumerate(names):
            value = found.rows[by_name[name]].iloc[position]
            cells[str(number)] = (
                thumbnail(value, found.file.parent) if used.get(name) == "image" else shown(value)
            )
        rows.append(Row(id=str(position), name=f"Row {position + 1}", cells=cells))
    return columns, rows


def label_rows(counts: Sequence[LabelCount]) -> tuple[list[Column], list[Row]]:
    """How labels of the tables become classes of the model."""
    columns = [
        Column("value", "Label in the tables", "text"),
        Column("class", "Class of the model", "chip"),
        Column("train", "Training rows", "count", align="right"),
        Column("test", "Test rows", "count", align="right"),
    ]
    rows = [
        Row(
            id=str(number),
            name=f"Label {visible(one.value)}",
            cells={
                "value": visible(one.value),
                "class": {"text": "no such class", "tone": "culprit"}
                if one.meaning is None
                else {"text": visible(one.meaning), "tone": "helper"},
                "train": one.train,
                "test": one.test,
            },
        )
        for number, one in enumerate(counts[:SHOWN_LABELS])
    ]
    return columns, rows


def shown(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        value = value["bytes"]
    return f"{len(value):,} bytes" if isinstance(value, bytes) else visible(str(value))


def visible(text: str) -> str:
    """Text cut to a few words, with what would control how it is drawn made visible."""
    cut = text if len(text) <= SHOWN_LETTERS else text[: SHOWN_LETTERS - 1] + "…"
    return "".join("\N{REPLACEMENT CHARACTER}" if _controls(letter) else letter for letter in cut)


def _controls(letter: str) -> bool:
    """Whether a character has no shape of its own but changes how others are drawn (line breaks may stay)."""
    return letter not in "\n\t" and unicodedata.category(letter) in {"Cc", "Cf", "Cs"}


def thumbnail(value: Any, folder: Path) -> str:
    """A small picture as a data URI; a few words where it is none that can be shown."""
    from PIL import Image

    content = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(content, bytes):
        source: Any = io.BytesIO(content)
    else:
        given = value.get("path") if isinstance(value, dict) else value
        source = (folder / str(given)).resolve()
        if not source.is_relative_to(folder.resolve()):
            return f"outside the table's folder: {shown(given)}"
    try:
        with Image.open(source) as picture:
            if picture.width * picture.height > _LARGEST:
                return f"{picture.width} × {picture.height} pixels: too large to show"
            picture.thumbnail((EDGE, EDGE))
            encoded = io.BytesIO()
            picture.convert("RGB").save(encoded, format="PNG")
    except Exception:  # Pillow's formats raise their own classes; the check before preparing says more
        return f"no readable picture: {shown(value)}"
    return "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()
