"""Parquet files, Arrow files, and folders that the `datasets` library saved with ``save_to_disk``.

Such a folder holds Arrow streams (``data-00000-of-00002.arrow`` …, older ones ``dataset.arrow``), ``state.json``, which
names them in order, and ``dataset_info.json``. The library itself is not needed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow
import pyarrow.ipc
import pyarrow.parquet

from attribution.errors import ProjectError
from attribution.sources.limits import gunzipped
from attribution.sources.tables.table import (
    BATCH_CHARACTERS,
    BATCH_ROWS,
    Columns,
    Table,
    checked_names,
    readable,
)

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"
_FEATURES = b"huggingface"
"""Key of the schema's metadata under which `datasets` keeps what the columns mean."""


class _ColumnarTable(Table):
    """What Parquet and Arrow have in common: a schema, and batches of Arrow arrays."""

    schema: pyarrow.Schema

    def _set_schema(self, file: Path, schema: pyarrow.Schema) -> None:
        self.file = file
        self.schema = schema
        self.notes = []
        self.columns = checked_names(schema.names, file)

    def class_names(self, name: str) -> list[str] | None:
        stored = (self.schema.metadata or {}).get(_FEATURES)
        try:
            features = json.loads(stored)["info"]["features"] if stored else {}
            feature = features.get(name, {})
            names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return [str(label) for label in names] if isinstance(names, list) else None


class ParquetTable(_ColumnarTable):
    """A Parquet file; a gzipped one is unpacked into a temporary file first, as Parquet is read from its end."""

    def __init__(self, file: Path) -> None:
        with readable(file):
            self._unpacked = _unpacked(file) if file.suffix.lower() == ".gz" else None
            self._stored = pyarrow.parquet.ParquetFile(self._unpacked or file, pre_buffer=False)
            self._set_schema(file, self._stored.schema_arrow)

    def count(self) -> int:
        return int(self._stored.metadata.num_rows)

    def batches(self, names: Sequence[str] | None = None, size: int = BATCH_ROWS) -> Iterator[Columns]:
        wanted = self.columns if names is None else list(names)
        rows = min(size, max(1, BATCH_CHARACTERS // self._row_bytes()))
        with readable(self.file):
            for batch in self._stored.iter_batches(batch_size=rows, columns=wanted, use_threads=False):
                yield {name: batch.column(name).to_pylist() for name in wanted}

    def _row_bytes(self) -> int:
        """Bytes of a row on the average of the row group that has the longest."""
        metadata = self._stored.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        return max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0) or 1


class ArrowTable(_ColumnarTable):
    """Arrow files, streams or random-access ones, one after the other."""

    def __init__(self, file: Path, parts: Sequence[Path]) -> None:
        self._parts = list(parts)
        with readable(file):
            with pyarrow.OSFile(str(self._parts[0])) as stream:
                schema, _ = _record_batches(stream)
            self._set_schema(file, schema)

    def batches(self, names: Sequence[str] | None = None, size: int = BATCH_ROWS) -> Iterator[Columns]:
        wanted = self.columns if names is None else list(names)
        with readable(self.file):
            for part in self._parts:
                with pyarrow.OSFile(str(part)) as stream:
                    for batch in _record_batches(stream)[1]:
                        for start in range(0, batch.num_rows, size):
                            rows = batch.slice(start, size)
                            yield {name: rows.column(name).to_pylist() for name in wanted}


class SavedDataset(ArrowTable):
    """A folder that `datasets` saved: what its Arrow files hold, with the features of ``dataset_info.json``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, saved_files(folder))
        self._features = _read_json(folder / INFO).get("features") if (folder / INFO).is_file() else None

    def class_names(self, name: str) -> list[str] | None:
        feature = self._features.get(name) if isinstance(self._features, dict) else None
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names"):
            return [str(label) for label in feature["names"]]
        return super().class_names(name)


def is_saved_dataset(folder: Path) -> bool:
    """Whether a folder looks like one that `datasets` saved: one split, or several."""
    return (folder / STATE).is_file() or (folder / SPLITS).is_file()


def saved_files(folder: Path) -> list[Path]:
    """The Arrow files of a folder that `datasets` saved, in order.

    Raises:
        ProjectError: it holds several splits, or its record is damaged or names files elsewhere.
    """
    if not (folder / STATE).is_file():
        found = _read_json(folder / SPLITS).get("splits") if (folder / SPLITS).is_file() else None
        if isinstance(found, list) and found:
            listed = ", ".join(f"'{name}'" for name in found)
            raise ProjectError(
                f"'{folder}' holds the splits {listed}: give one of them, for example {folder / str(found[0])}."
            )
        raise ProjectError(
            f"'{folder}' is not a dataset saved with save_to_disk (it has no {STATE}): give one, or a table."
        )
    state = _read_json(folder / STATE)
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise ProjectError(
            f"'{folder}' keeps its rows in an order of its own, as old versions of datasets do: load it with datasets "
            "and save it again."
        )
    try:
        names = [str(entry["filename"]) for entry in state["_data_files"]]
    except (KeyError, TypeError) as error:
        raise ProjectError(f"'{folder / STATE}' names no data files: save the dataset again.") from error
    if not names:
        raise ProjectError(f"'{folder}' has no rows: give at least one example.")
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise ProjectError(
                f"'{folder / STATE}' names the file '{name}', which is not in the folder: save the dataset again."
            )
    return [folder / name for name in names]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        assert isinstance(content, dict)
    except (OSError, ValueError, AssertionError) as error:
        raise ProjectError(f"'{file}' is damaged: save the dataset again.") from error
    return content


def _record_batches(stream: pyarrow.NativeFile) -> tuple[pyarrow.Schema, Iterator[pyarrow.RecordBatch]]:
    """Schema and batches of an Arrow stream, or of an Arrow (Feather) file."""
    magic = bytes(stream.read(6))
    stream.seek(0)
    if magic == b"ARROW1":
        reader = pyarrow.ipc.open_file(stream)
        return reader.schema, (reader.get_batch(number) for number in range(reader.num_record_batches))
    reader = pyarrow.ipc.open_stream(stream)
    return reader.schema, iter(reader)


def _unpacked(file: Path) -> IO[bytes]:
    """The content of a gzipped file as a temporary one, which goes when it is closed."""
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115
    with gunzipped(file) as packed:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
    unpacked.seek(0)
    return unpacked
