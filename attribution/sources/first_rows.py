"""The first rows of a table, without reading the rest: enough to show people what is in it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pandas as pd

from attribution.errors import ProjectError
from attribution.sources.tables import read_table


def first_rows(file: Path, count: int) -> tuple[pd.DataFrame, bool]:
    """At most ``count`` rows, and whether that is all of them.

    Raises:
        ProjectError: missing, of another kind, or damaged (as far as it was read).
    """
    try:
        table = _beginning(file, count + 1)
    except Exception:
        table = read_table(file)  # which has a sentence for each kind of damage
    return table.iloc[:count], len(table) <= count


def _beginning(file: Path, count: int) -> pd.DataFrame:
    suffixes = [suffix.lower() for suffix in file.suffixes]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else "".join(suffixes[-1:])
    if kind in {".parquet", ".pq"}:
        import pyarrow.parquet as parquet

        with parquet.ParquetFile(file) as opened:
            parts = islice(opened.iter_batches(batch_size=min(count, 4096)), -(-count // min(count, 4096)))
            frames = [part.to_pandas() for part in parts]
            empty = opened.schema_arrow.empty_table().to_pandas()
        return pd.concat(frames).head(count) if frames else empty
    if kind in {".jsonl", ".ndjson"}:
        return pd.read_json(file, lines=True, dtype=False, nrows=count)
    if kind in {".csv", ".tsv"}:
        separator = "," if kind == ".csv" else "\t"
        return pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, nrows=count)
    raise ProjectError(f"'{file}' is no table.")
