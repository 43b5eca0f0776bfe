"""CSV and TSV: every field is text, exactly as it stands in the file."""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

from attribution.errors import ProjectError
from attribution.sources.tables.encoding import open_text, text_encoding
from attribution.sources.tables.table import (
    BATCH_ROWS,
    LONGEST_FIELD,
    Columns,
    Table,
    checked_names,
    in_batches,
    readable,
)

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SAMPLED_ROWS = 20


class DelimitedTable(Table):
    """A text file with a header line and one row per example; fields may be quoted and then hold line breaks.

    The first row names the columns. ``separator`` None: found out from the first rows, as spreadsheets of many
    countries write semicolons into a ``.csv``.
    """

    def __init__(self, file: Path, separator: str | None) -> None:
        self.file = file
        self.notes = []
        with readable(file):
            self._encoding = text_encoding(file)
            if self._encoding.note:
                self.notes.append(self._encoding.note)
            self._separator = self._found_separator() if separator is None else separator
            with closing(self._records(self._separator)) as records:
                header = next(records, (0, []))[1]
        self.columns = checked_names(header, file)

    def batches(self, names: Sequence[str] | None = None, size: int = BATCH_ROWS) -> Iterator[Columns]:
        places = {name: self.columns.index(name) for name in (self.columns if names is None else names)}
        with readable(self.file), closing(self._records(self._separator)) as records:
            next(records, None)
            for part in in_batches(self._rows(records), size):
                yield {name: [row[place] for row in part] for name, place in places.items()}

    def _rows(self, records: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
        """The fields of each row, with how long they are together."""
        width = len(self.columns)
        for number, (line, row) in enumerate(records, start=1):
            if len(row) != width:
                raise ProjectError(
                    f"'{self.file}' row {number} (line {line}) has {len(row)} fields, the header {width}: put quotes "
                    f"around fields that hold {_SEPARATORS.get(self._separator, 'the separator')}."
                )
            yield sum(map(len, row)), row

    def _records(self, separator: str) -> Generator[tuple[int, list[str]], None, None]:
        """The header and the rows, each with the number of its last line; empty lines are none."""
        csv.field_size_limit(
            max(csv.field_size_limit(), LONGEST_FIELD)
        )  # of the whole process, so never lowered
        with open_text(self.file, self._encoding) as stream:
            reader = csv.reader(stream, delimiter=separator, strict=True)
            number = 0  # of the record: the header is none, rows start at 1
            while True:
                try:
                    record = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    raise self._damaged(number, reader.line_num, error) from error
                if record:
                    yield reader.line_num, record
                    number += 1

    def _damaged(self, row: int, line: int, error: csv.Error) -> ProjectError:
        if "field limit" in str(error):
            problem, remedy = (
                "holds a field of more than a million characters",
                "close the quote that is left open, or shorten it",
            )
        elif "unexpected end" in str(error):
            problem, remedy = "has a quote that is never closed", "close it, or double it inside a text"
        else:
            problem, remedy = f"is not well formed ({error})", 'write a quote within quotes as two ("")'
        where = f"row {row} (up to line {line})" if row else "header"
        return ProjectError(f"'{self.file}' {where} {problem}: {remedy}.")

    def _found_separator(self) -> str:
        """Commas if they make columns that fit, else the first other separator that does."""
        for separator in _SEPARATORS:
            widths = self._widths(separator)
            if widths and widths[0] > 1 and all(width == widths[0] for width in widths):
                return separator
        for separator in _SEPARATORS:  # some row is wrong: the header decides, and the row is named later
            widths = self._widths(separator)
            if widths and widths[0] > 1:
                return separator
        return ","

    def _widths(self, separator: str) -> list[int]:
        """Numbers of fields in the header and the first rows, as far as they can be read."""
        widths: list[int] = []
        with closing(self._records(separator)) as records:
            try:
                for _, record in islice(records, 1 + _SAMPLED_ROWS):
                    widths.append(len(record))
            except ProjectError:
                widths.append(0)
        return widths
