"""Writing the same table in every format that Tracefix reads, by other means than it reads them."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

Columns = Mapping[str, Sequence[Any]]


def rows_of(columns: Columns) -> list[dict[str, Any]]:
    """The table as one object per row."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def delimited(columns: Columns, separator: str = ",") -> bytes:
    """The table as the csv module writes it, in UTF-8."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=separator)
    writer.writerows([list(columns), *zip(*columns.values(), strict=True)])
    return stream.getvalue().encode()


def json_lines(columns: Columns) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows_of(columns))


def parquet(columns: Columns) -> bytes:
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), stream)
    return stream.getvalue()


FORMATS: dict[str, Callable[[Columns], bytes]] = {
    ".csv": delimited,
    ".tsv": lambda columns: delimited(columns, "\t"),
    ".jsonl": json_lines,
    ".parquet": parquet,
}


def write(directory: Path, name: str, columns: Columns) -> Path:
    """Write ``name`` in the format of its suffixes, gzipped if it ends with ``.gz``; without a suffix a saved dataset.

    Raises:
        KeyError: no such format.
    """
    file = directory / name
    if not file.suffix:
        return saved_dataset(file, columns)
    packed = file.suffix == ".gz"
    content = FORMATS[file.with_suffix("").suffix if packed else file.suffix](columns)
    file.write_bytes(gzip.compress(content) if packed else content)
    return file


def saved_dataset(
    folder: Path, columns: Columns, *, class_names: Mapping[str, Sequence[str]] | None = None, parts: int = 1
) -> Path:
    """What ``datasets.Dataset.save_to_disk`` writes: Arrow streams, ``dataset_info.json`` and ``state.json``.

    Args:
        class_names: names of the classes of columns that are a ``ClassLabel``.
        parts: number of Arrow files (its ``num_shards``).
    """
    table = pyarrow.table(dict(columns))
    features = {name: {"dtype": str(table.schema.field(name).type), "_type": "Value"} for name in columns}
    for name, names in (class_names or {}).items():
        features[name] = {"names": list(names), "_type": "ClassLabel"}
    info = json.dumps({"info": {"features": features}})
    table = table.replace_schema_metadata({"huggingface": info})
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{parts:05}.arrow" for number in range(parts)]
    for number, name in enumerate(names):  # contiguous parts, as save_to_disk makes them
        start, end = (table.num_rows * n // parts for n in (number, number + 1))
        with pyarrow.ipc.new_stream(folder / name, table.schema) as writer:
            writer.write_table(table.slice(start, end - start), max_chunksize=1000)
    (folder / "dataset_info.json").write_text(
        json.dumps({"citation": "", "description": "", "features": features, "homepage": "", "license": ""})
    )
    state = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "7c4f3f5d0b5c9f0e",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": "train",
    }
    (folder / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True))
    return folder
