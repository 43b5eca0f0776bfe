"""A table on disk, read a few rows at a time: memory holds one batch, however many rows there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from attribution.errors import ProjectError, TracefixError
from attribution.sources.python_function import first_sentence

Row = TypeVar("Row")

BATCH_ROWS = 2048

LONGEST_FIELD = 1_000_000
"""Characters of one field. Whole books are shorter; more is a quote left open, or not a table of texts."""

BATCH_CHARACTERS = 16 * LONGEST_FIELD
"""A batch is closed early where its rows are this long together."""

MOST_COLUMNS = 10_000
"""More names than that are no columns, but a text taken for a header, or a key for each row."""

Columns = dict[str, list[Any]]
"""Some rows: the values of each column, equally many. Missing values are None or a float that is NaN."""


class Table(ABC):
    """A table with named columns. Row numbers in messages start at 1 and count examples, not lines.

    Attributes:
        file: what it is read from, as the user named it.
        columns: names of the columns, in order.
        notes: what the user should know of how it was read, in sentences.
    """

    file: Path
    columns: list[str]
    notes: list[str]
    own_ids: str | None = None
    """The column with ids that such a table always has."""

    @abstractmethod
    def batches(self, names: Sequence[str] | None = None, size: int = BATCH_ROWS) -> Iterator[Columns]:
        """All rows in order, ``size`` at a time or fewer where they are long; the columns of these names, or all.

        Raises:
            ProjectError: the table is damaged, naming row or line.
        """

    def count(self) -> int:
        """Number of rows."""
        return sum(len(next(iter(part.values()))) for part in self.batches(self.columns[:1]))

    def class_names(self, name: str) -> list[str] | None:
        """Class names by class number, where the table itself keeps them for a column of numbers."""
        del name
        return None

    def require(self, names: Iterable[str | None]) -> None:
        """Check that there are columns of these names; None asks for nothing.

        Raises:
            ProjectError: one is absent, naming those there are.
        """
        for name in names:
            if name is not None and name not in self.columns:
                known = ", ".join(f"'{column}'" for column in self.columns[:20])
                raise ProjectError(f"'{self.file}' has no column '{name}': its columns are {known}.")


def checked_names(names: Sequence[str], file: Path) -> list[str]:
    """The names of a table's columns; empty ones get the name that pandas gives them.

    Raises:
        ProjectError: two columns have the same name, or there is none.
    """
    found = [str(name) or f"Unnamed: {number}" for number, name in enumerate(names)]
    if not found:
        raise ProjectError(f"'{file}' is empty: give a table with column names and rows.")
    if len(found) > MOST_COLUMNS:
        raise ProjectError(
            f"'{file}' has more than {MOST_COLUMNS:,} columns: give a table with one row per example and a header."
        )
    seen: set[str] = set()
    for name in found:
        if name in seen:
            raise ProjectError(f"'{file}' has two columns '{name}': rename or drop one of them.")
        seen.add(name)
    return found


def in_batches(rows: Iterable[tuple[int, Row]], size: int) -> Iterator[list[Row]]:
    """Rows, each with its length in characters, in lists of at most ``size`` that hold no more than memory is for."""
    part: list[Row] = []
    held = 0
    for length, row in rows:
        part.append(row)
        held += length
        if len(part) == size or held > BATCH_CHARACTERS:
            yield part
            part, held = [], 0
    if part:
        yield part


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Say of any failure to read that it is the file's, in one sentence.

    Raises:
        ProjectError: whatever went wrong.
    """
    try:
        yield
    except TracefixError:
        raise
    except FileNotFoundError:
        raise ProjectError(f"There is no table '{file}': give an existing file.") from None
    except Exception as error:  # each reader has its own classes for damage
        first = first_sentence(str(error)) or type(error).__name__
        raise ProjectError(f"'{file}' cannot be read as a table ({first}): mend or replace it.") from error
