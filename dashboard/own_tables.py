"""What a model folder and the tables beside it say of themselves, before anything of them is loaded.

For the page on which people open their own model: the same readers as `tracefix new`, on the first rows only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attribution.errors import NotFoundError, ProjectError
from attribution.projects.files import expanded, is_file, is_folder
from attribution.projects.manifest import CheckpointRecord, Manifest, TransformersSource
from attribution.sources.checkpoint_list import CheckpointList, checkpoint_list, in_order
from attribution.sources.trainer_folder import checkpoint_folders
from dashboard.new_project import Table

if TYPE_CHECKING:
    import pandas as pd

LOOKED_AT = 20_000
"""Rows of a table that are read for the page."""

MOST_LABELS = 500
"""Different labels that are compared with the classes, at least."""

Kind = Literal["text", "image"]

_NAMES = {
    "text": ("text", "sentence", "review", "content", "document", "body", "premise", "question", "sentence1"),
    "image": ("image", "img", "picture", "pixel_values", "file_name", "image_path", "path", "file"),
    "label": ("label", "labels", "class", "target", "category", "sentiment", "stars", "y"),
    "id": ("id", "idx", "guid", "uid", "example_id", "index"),
}
"""What columns are usually called, the commonest first."""

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


@dataclass(frozen=True)
class FoundModel:
    """A saved classifier as its config describes it.

    Args:
        folder: that it is loaded from: the given one, or the last checkpoint in it.
        architecture: name of its class.
        classes: their names in order.
        kind: what it reads; None where the config does not say.
    """

    folder: Path
    architecture: str
    classes: list[str]
    kind: Kind | None


@dataclass(frozen=True)
class FoundTable:
    """The beginning of a table, and whether that is all of it."""

    file: Path
    rows: pd.DataFrame
    complete: bool

    @property
    def columns(self) -> list[str]:
        return [str(column) for column in self.rows.columns]


@dataclass(frozen=True)
class LabelCount:
    """A value of the label column, how often it was seen in each table, and the class that it means, if any."""

    value: str
    train: int
    test: int
    meaning: str | None


def found_model(given: str) -> FoundModel:
    """What the config in a folder says.

    Raises:
        NotFoundError: no such folder.
        ProjectError: no model in it, or its config is damaged or not that of a classifier.
    """
    from attribution.sources.found_training import model_folder

    path = expanded(given.strip()).absolute()
    if not is_folder(path):
        why = "is a file" if is_file(path) else "does not exist on this machine"
        raise NotFoundError(f"The folder '{path}' {why}: give the folder that the model was saved in.")
    folder = model_folder(path, in_order(checkpoint_folders(path)))
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        architecture = str((config.get("architectures") or [""])[0])
        names = {int(number): str(name) for number, name in (config.get("id2label") or {}).items()}
        count = int(config.get("num_labels", len(names) or 2))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ProjectError(
            f"'{file}' is damaged ({error}): save the model again with save_pretrained."
        ) from error
    if architecture and "Classification" not in architecture:
        raise ProjectError(
            f"'{file}' describes a {architecture}, which is no classifier: give the folder of a model that was "
            "fine-tuned for sequence or image classification."
        )
    classes = [names.get(number, f"LABEL_{number}") for number in range(len(names) or count)]
    kind: Kind | None = (
        "image" if "ImageClassification" in architecture else "text" if "Sequence" in architecture else None
    )
    return FoundModel(folder, architecture or str(config.get("model_type", "a model")), classes, kind)


def found_table(given: str) -> FoundTable:
    """The beginning of a table.

    Raises:
        NotFoundError: no such file.
        ProjectError: no table, or one without rows or columns.
    """
    path = expanded(given.strip()).absolute()
    if not (is_file(path) or is_folder(path)):
        raise NotFoundError(f"'{path}' does not exist on this machine: give a table.")
    rows, complete = first_rows(path, LOOKED_AT)
    if not len(rows):
        raise ProjectError(f"'{path}' has no rows: give at least one example.")
    return FoundTable(path, rows, complete)


def first_rows(path: Path, count: int) -> tuple[pd.DataFrame, bool]:
    """At most ``count`` rows of a table, and whether that is all of them.

    Raises:
        ProjectError: missing, of another kind, or damaged (as far as it was read).
    """
    import pandas as pd

    from attribution.sources.tables import open_table

    table = open_table(path)
    values: dict[str, list[Any]] = {column: [] for column in table.columns}
    for part in table.batches():
        for column, more in part.items():
            values[column] += more
        if len(next(iter(values.values()))) > count:
            break
    rows = pd.DataFrame(values, dtype=object)
    return rows.head(count), len(rows) <= count


def found_checkpoints(folder: Path, model: Path, pattern: str) -> list[CheckpointRecord]:
    """Checkpoints with step and learning rate as `tracefix new` records them; 1.0 where no rate is known.

    Args:
        folder: as the user gave it.
        model: that the model is loaded from.
        pattern: of checkpoints, or a list; empty for those of a Trainer in ``folder``.

    Raises:
        TracefixError: as `attribution.sources.checkpoint_list` and `attribution.sources.found_training`.
    """
    from attribution.sources.found_training import record_training

    found = checkpoint_list(pattern) if pattern else CheckpointList(in_order(checkpoint_folders(folder)))
    if not found.files:
        return []
    source = TransformersSource(model=str(model), train="", test="")
    scratch = Manifest(name="scratch", title="", source=source)
    record_training(scratch, model, found, str, 1)
    return scratch.checkpoints


def guessed_columns(table: FoundTable, model: FoundModel) -> Table:
    """Which column is which, by name and by what is in it; the user has the last word."""
    columns = table.columns
    kind = model.kind or ("image" if _named(columns, "image") and not _named(columns, "text") else "text")
    label = _named(columns, "label") or _fitting_labels(table, model.classes) or columns[-1]
    others = [column for column in columns if column != label]
    identity = _named(others, "id")
    if identity is not None and not table.rows[identity].map(str).is_unique:
        identity = None
    inputs = [column for column in others if column != identity] or others or columns
    if kind == "image":
        image = _named(inputs, "image") or next(
            (c for c in inputs if _holds_pictures(table.rows[c])), inputs[0]
        )
        return Table(image=image, label=label, id=identity)
    longest = max(inputs, key=lambda column: table.rows[column].head(50).map(str).str.len().mean())
    return Table(text=_named(inputs, "text") or longest, label=label, id=identity)


def label_counts(
    train: FoundTable, test: FoundTable, column: str, classes: Sequence[str]
) -> list[LabelCount]:
    """Every value of the label column in the rows that were looked at, the commonest first."""
    seen = [Counter(table.rows[column].map(str).tolist()) for table in (train, test)]
    values = sorted({*seen[0], *seen[1]}, key=lambda value: (-seen[0][value], -seen[1][value], value))
    tried = set(values[: max(MOST_LABELS, 2 * len(classes))])  # so many different values are no labels
    return [
        LabelCount(
            value, seen[0][value], seen[1][value], _meaning(value, classes) if value in tried else None
        )
        for value in values
    ]


def label_problem(counts: Sequence[LabelCount], classes: Sequence[str], column: str) -> str | None:
    """What is wrong with the labels, in one sentence; None where each is a class of the model."""
    unknown = [count for count in counts if count.meaning is None]
    if not unknown:
        return None
    shown = ", ".join(f"'{one.value[:40]}' ({one.train + one.test} rows)" for one in unknown[:3])
    more = f" and {len(unknown) - 3} others" if len(unknown) > 3 else ""
    return (
        f"Column '{column}' has values that are no class of the model: {shown}{more}. Its classes are "
        f"{', '.join(repr(name) for name in list(classes)[:8])}{', …' if len(classes) > 8 else ''} (or their numbers "
        f"0 to {len(classes) - 1}): choose another column, or rename them in the table or in config.json's id2label."
    )


def _meaning(value: str, classes: Sequence[str]) -> str | None:
    from attribution.sources.tables.labels import ClassLabels

    number = ClassLabels(classes).meaning(value)
    return None if number is None else classes[number]


def _named(columns: Sequence[str], what: str) -> str | None:
    lowered = {column.lower(): column for column in reversed(columns)}
    return next((lowered[name] for name in _NAMES[what] if name in lowered), None)


def _fitting_labels(table: FoundTable, classes: Sequence[str]) -> str | None:
    """A column whose first values are all classes of the model."""
    for column in table.columns:
        values = set(table.rows[column].head(200).map(str))
        if len(values) <= len(classes) and all(_meaning(value, classes) is not None for value in values):
            return column
    return None


def _holds_pictures(values: pd.Series) -> bool:
    first = values.iloc[0]
    return isinstance(first, bytes | dict) or str(first).lower().endswith(_PICTURES)
