"""A split of pictures, from a table with a column of them or from a folder of class sub-folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attribution.errors import ProjectError
from attribution.projects.manifest import TransformersSource
from attribution.sources.image_data import ImageDataset, ImageProcessor, Pictures, Thumbnails
from attribution.sources.tables import open_table
from attribution.sources.tables.class_folders import ClassFolders, FolderLabels
from attribution.sources.tables.kept_column import KeptColumn
from attribution.sources.tables.labels import ClassLabels, LabelColumn
from attribution.sources.tables.values import ids_of
from attribution.sources.text_rows import UniqueIds
from attribution.sources.text_split import SplitData


def read_image_split(
    file: Path, source: TransformersSource, classes: ClassLabels, processor: ImageProcessor, mode: str
) -> SplitData:
    """The pictures of a table or folder, with everything else that it says of them; no picture is read yet.

    Args:
        mode: kind of pictures that the model reads, one of `pictures.MODES`.

    Raises:
        ProjectError: the table is damaged, or a label or id in it is unusable.
    """
    table = open_table(file)
    column, label, id_column = str(source.image_column), source.label_column, source.id_column
    used = [name for name in (column, label, id_column) if name is not None]
    table.require(used)
    values: list[Any] = []
    ids: list[str] | None = None if id_column is None else []
    in_folders = isinstance(table, ClassFolders)
    labels = FolderLabels(file, label) if in_folders else LabelColumn(file, label)
    metadata: dict[str, KeptColumn] = {}
    unique = UniqueIds()
    for rows in table.batches():
        labels.add(rows[label])
        if ids is not None and id_column is not None:
            found = ids_of(rows[id_column], file, id_column, len(values))
            ids += found
            unique.add(found)
        values += rows[column]
        for name in table.columns:
            if name not in used:
                metadata.setdefault(name, KeptColumn()).extend(rows[name])
    if not values:
        raise ProjectError(f"'{file}' has no rows: give at least one example.")
    if id_column is not None:
        unique.check(table, id_column)
    numbers = classes.numbers(labels, table.class_names(label)).numbers
    pictures = Pictures(
        values,
        file if in_folders else file.parent,
        mode,
        (lambda row: f"'{file}/{values[row]}'") if in_folders else (lambda row: f"'{file}' row {row + 1}"),
    )
    return SplitData(ImageDataset(pictures, numbers, processor), ids, dict(metadata), Thumbnails(pictures))
