"""Reading the table of a split: one row per example, with a label and a text or an image."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from attribution.errors import ProjectError
from attribution.projects.manifest import TransformersSource

_READERS = {".csv": ",", ".tsv": "\t"}


def read_table(file: Path) -> pd.DataFrame:
    """Read a CSV, TSV, JSON Lines or Parquet file (the first three also gzipped).

    Raises:
        ProjectError: missing, of another kind, or damaged.
    """
    suffixes = [suffix.lower() for suffix in file.suffixes]
    kind = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else (suffixes[-1] if suffixes else "")
    try:
        if kind in _READERS:
            return pd.read_csv(file, sep=_READERS[kind], dtype=str, keep_default_na=False)
        if kind in {".jsonl", ".ndjson"}:
            return pd.read_json(file, lines=True, dtype=False)
        if kind in {".parquet", ".pq"}:
            return pd.read_parquet(file)
    except FileNotFoundError:
        raise ProjectError(f"There is no table '{file}': give an existing file.") from None
    except Exception as error:  # each reader has its own classes for damage
        first = str(error).strip().splitlines()[:1]
        raise ProjectError(
            f"'{file}' cannot be read as a table ({''.join(first)}): mend or replace it."
        ) from error
    raise ProjectError(f"'{file}' is not a CSV, TSV, JSON Lines or Parquet file: convert it to one of these.")


def column(table: pd.DataFrame, name: str, file: Path) -> pd.Series:
    """A column of a table.

    Raises:
        ProjectError: no such column, naming those there are.
    """
    if name not in table.columns:
        known = ", ".join(f"'{c}'" for c in list(table.columns)[:20])
        raise ProjectError(f"'{file}' has no column '{name}': its columns are {known}.")
    return table[name]


def class_numbers(labels: pd.Series, class_names: list[str], file: Path) -> list[int]:
    """Labels given as class names or class numbers, as class numbers.

    Raises:
        ProjectError: a label that is neither, naming the row.
    """
    by_name = {name: number for number, name in enumerate(class_names)}
    by_number = {str(number): number for number in range(len(class_names))}
    numbers = []
    for row, label in enumerate(labels):
        text = str(label)
        number = by_name.get(text, by_number.get(text.removesuffix(".0")))
        if number is None:
            raise ProjectError(
                f"'{file}' row {row + 1} has the label '{text}', which the model does not know: its classes are "
                f"{', '.join(class_names[:20])}."
            )
        numbers.append(number)
    return numbers


def ids(table: pd.DataFrame, source: TransformersSource, file: Path) -> list[str] | None:
    """Ids as text from the id column, or None where there is none."""
    if source.id_column is None:
        return None
    return [str(value) for value in column(table, source.id_column, file)]
