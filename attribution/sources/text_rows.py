"""Rows of a table of texts as a transformers project names its columns: texts, or pairs of them, with ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribution.errors import ProjectError
from attribution.projects.manifest import TransformersSource
from attribution.sources.tables.table import Columns, Table
from attribution.sources.tables.values import ids_of, texts_of

USUAL_COLUMN = "text"


@dataclass(frozen=True)
class TextRows:
    """Some rows of a split.

    Args:
        start: rows before these.
        texts: what the model reads; a missing one is empty.
        pairs: the second part of each, where the model compares two.
        labels: as they stand in the table.
        ids: None where the table has no id column.
        rest: the other columns, as they stand.
    """

    start: int
    texts: list[str]
    pairs: list[str] | None
    labels: list[Any]
    ids: list[str] | None
    rest: Columns

    def __len__(self) -> int:
        return len(self.texts)

    def id(self, row: int) -> str:
        """The id of one of these rows: that of the id column, or its number from 0 as text."""
        return str(self.start + row) if self.ids is None else self.ids[row]


def text_rows(table: Table, source: TransformersSource, *, rest: bool = False) -> Iterator[TextRows]:
    """All rows in order, some at a time.

    Args:
        rest: read the other columns, too.

    Raises:
        ProjectError: the table lacks a column or is damaged, or a text or an id is unusable.
    """
    text, pair = source.text_column or USUAL_COLUMN, source.pair_column
    used = [name for name in (text, pair, source.label_column, source.id_column) if name is not None]
    table.require(used)
    others = [name for name in table.columns if name not in used] if rest else []
    start = 0
    for part in table.batches(list(dict.fromkeys([*used, *others]))):
        yield TextRows(
            start,
            texts_of(part[text], table.file, text, start),
            None if pair is None else texts_of(part[pair], table.file, pair, start),
            part[source.label_column],
            None
            if source.id_column is None
            else ids_of(part[source.id_column], table.file, source.id_column, start),
            {name: part[name] for name in others},
        )
        start += len(part[text])
    if not start:
        raise ProjectError(f"'{table.file}' has no rows: give at least one example.")


def shown(texts: list[str], pairs: list[str] | None, source: TransformersSource) -> list[str]:
    """Examples as people see them: the text, or both parts with the names of their columns."""
    if pairs is None:
        return texts
    first, second = source.text_column or USUAL_COLUMN, source.pair_column
    return [f"{first}: {text}\n{second}: {pair}" for text, pair in zip(texts, pairs, strict=True)]


class UniqueIds:
    """Whether ids are unique, at eight bytes a row: their hashes are kept, and equal ones looked up afterwards."""

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = []

    def add(self, ids: list[str]) -> None:
        """Take the ids of the next rows."""
        self._hashes.append(np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids)))

    def check(self, table: Table, column: str) -> None:
        """Look for an id that occurs twice.

        Raises:
            ProjectError: there is one, with both rows.
        """
        if not self._hashes:
            return
        hashes = np.concatenate(self._hashes)
        values, counts = np.unique(hashes, return_counts=True)
        doubtful = set(values[counts > 1].tolist())
        if not doubtful:
            return
        first: dict[str, int] = {}
        start = 0
        for part in table.batches([column]):
            for row, value in enumerate(ids_of(part[column], table.file, column, start), start=start + 1):
                if hash(value) in doubtful and first.setdefault(value, row) != row:
                    raise ProjectError(
                        f"'{table.file}' has the id '{value}' in rows {first[value]} and {row}: ids must be unique "
                        "within a split, so correct one, or leave the id column out."
                    )
            start += len(part[column])
