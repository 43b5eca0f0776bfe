"""JSON Lines: one object a line, values with the types that JSON has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attribution.errors import ProjectError
from attribution.sources.tables.encoding import open_text, text_encoding
from attribution.sources.tables.table import (
    BATCH_ROWS,
    LONGEST_FIELD,
    MOST_COLUMNS,
    Columns,
    Table,
    checked_names,
    in_batches,
    readable,
)

_LONGEST_LINE = 16 * LONGEST_FIELD


class JsonLinesTable(Table):
    """A text file with a JSON object in each line; a key that a line lacks is None there. Blank lines are no rows."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.notes = []
        self._count = 0
        names: dict[str, None] = {}  # a set in order
        with readable(file):
            self._encoding = text_encoding(file)
            if self._encoding.note:
                self.notes.append(self._encoding.note)
            for _, row in self._rows():
                self._count += 1
                names.update(dict.fromkeys(row))
                if len(names) > MOST_COLUMNS:
                    break
        self.columns = checked_names(list(names), file)

    def count(self) -> int:
        return self._count

    def batches(self, names: Sequence[str] | None = None, size: int = BATCH_ROWS) -> Iterator[Columns]:
        wanted = self.columns if names is None else list(names)
        with readable(self.file):
            for part in in_batches(self._rows(), size):
                yield {name: [row.get(name) for row in part] for name in wanted}

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The object of each line, with how long the line is."""
        number = 0
        with open_text(self.file, self._encoding, newline="\n") as stream:
            while line := stream.readline(_LONGEST_LINE + 1):
                number += 1
                if len(line) > _LONGEST_LINE:
                    raise ProjectError(
                        f"'{self.file}' line {number} is longer than {_LONGEST_LINE:,} characters: shorten it, or "
                        "write one object a line."
                    )
                if line.isspace():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise self._damaged(number, line, str(error)) from error
                if not isinstance(row, dict):
                    raise self._damaged(number, line, f"it is a JSON {type(row).__name__}")
                yield len(line), row

    def _damaged(self, number: int, line: str, reason: str) -> ProjectError:
        if number == 1 and line.lstrip().startswith("["):
            return ProjectError(
                f"'{self.file}' holds a JSON array: write one object a line, with pandas for example "
                "read_json(FILE).to_json(NEW, orient='records', lines=True)."
            )
        return ProjectError(
            f"'{self.file}' line {number} is not a JSON object ({reason}): write one object a line."
        )
