"""Which kind of table a file or folder is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attribution.errors import ProjectError
from attribution.sources.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd

_SEPARATORS = {".csv": None, ".tsv": "\t", ".tab": "\t"}
_JSON_LINES = {".jsonl", ".ndjson", ".json"}
_PARQUET = {".parquet", ".pq"}
_ARROW = {".arrow", ".feather"}


def open_table(file: Path) -> Table:
    """Open a CSV, TSV, JSON Lines, Parquet or Arrow file (gzipped too, but Arrow), a saved `datasets` folder, or a
    folder of pictures with class sub-folders.

    Reads the names of the columns, and of text files everything once, for their encoding.

    Raises:
        ProjectError: missing, of another kind, or damaged.
    """
    suffixes = [suffix.lower() for suffix in file.suffixes]
    kind = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else (suffixes[-1] if suffixes else "")
    if file.is_dir():
        from attribution.sources.tables.class_folders import ClassFolders
        from attribution.sources.tables.columnar import SavedDataset, is_saved_dataset

        return SavedDataset(file) if is_saved_dataset(file) else ClassFolders(file)
    if kind in _SEPARATORS:
        from attribution.sources.tables.delimited import DelimitedTable

        return DelimitedTable(file, _SEPARATORS[kind])
    if kind in _JSON_LINES:
        from attribution.sources.tables.json_lines import JsonLinesTable

        return JsonLinesTable(file)
    if kind in _PARQUET:
        from attribution.sources.tables.columnar import ParquetTable

        return ParquetTable(file)
    if kind in _ARROW and suffixes[-1] == kind:
        from attribution.sources.tables.columnar import ArrowTable

        return ArrowTable(file, [file])
    raise ProjectError(f"'{file}' is not a CSV, TSV, JSON Lines or Parquet file: convert it to one of these.")


def read_table(file: Path) -> pd.DataFrame:
    """All of a table at once, for small ones: values as they are stored, in columns of objects.

    Raises:
        ProjectError: as `open_table`.
    """
    import pandas as pd

    table = open_table(file)
    columns: dict[str, list[object]] = {name: [] for name in table.columns}
    for part in table.batches():
        for name, values in part.items():
            columns[name] += values
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
