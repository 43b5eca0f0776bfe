"""A split of texts, read from its table and tokenised some rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from attribution.projects.manifest import TransformersSource
from attribution.sources.tables import open_table
from attribution.sources.tables.kept_column import KeptColumn
from attribution.sources.tables.labels import ClassLabels, LabelColumn
from attribution.sources.text_data import TextDataset, TextDatasetBuilder, TextTokenizer
from attribution.sources.text_rows import UniqueIds, shown, text_rows


@dataclass(frozen=True)
class SplitData:
    """One split of a task: items for the model, ids (None where rows are numbered), further columns, and what people
    see of each example."""

    dataset: Dataset[Any]
    ids: Sequence[str] | None
    metadata: dict[str, Sequence[Any]]
    display: Sequence[Any]


def read_text_split(
    file: Path, source: TransformersSource, classes: ClassLabels, tokenizer: TextTokenizer
) -> SplitData:
    """The texts of a table as the model reads them, with everything else that the table says of them.

    Raises:
        ProjectError: the table is damaged, or a label, text or id in it is unusable.
    """
    table = open_table(file)
    builder, display, unique = TextDatasetBuilder(), KeptColumn(), UniqueIds()
    labels = LabelColumn(file, source.label_column)
    ids: list[str] | None = None if source.id_column is None else []
    metadata: dict[str, KeptColumn] = {}
    for rows in text_rows(table, source, rest=True):
        builder.append(tokenizer(rows.texts, rows.pairs, file, rows.start))
        labels.add(rows.labels)
        display.extend(shown(rows.texts, rows.pairs, source))
        for name, values in rows.rest.items():
            metadata.setdefault(name, KeptColumn()).extend(values)
        if ids is not None and rows.ids is not None:
            ids += rows.ids
            unique.add(rows.ids)
    if source.id_column is not None:
        unique.check(table, source.id_column)
    numbers = classes.numbers(labels, table.class_names(source.label_column)).numbers
    return SplitData(TextDataset.built(builder, numbers), ids, dict(metadata), display)
