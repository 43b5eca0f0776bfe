"""What the model gets wrong, as tables: the mispredictions, their filter, the confusion counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from attribution.projects import Project

SortKey = Literal["loss", "confidence", "true", "predicted"]
SORT_KEYS: tuple[SortKey, ...] = ("loss", "confidence", "true", "predicted")

MATRIX_CLASSES = 20
"""A larger confusion matrix is unreadable: the classes with the most errors are shown."""


def misprediction_table(project: Project, predictions: pd.DataFrame) -> pd.DataFrame:
    """Wrongly predicted test examples by id, worst loss first: true, predicted (names), confidence, loss (nats).

    Args:
        predictions: of the test set, as `Project.predictions` has them.
    """
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    wrong = wrong.sort_values("loss", ascending=False, kind="stable")
    names = np.asarray(project.class_names, dtype=object)
    return pd.DataFrame(
        {
            "true": names[wrong["label"].to_numpy()],
            "predicted": names[wrong["predicted"].to_numpy()],
            "confidence": wrong["confidence"].astype(float),
            "loss": wrong["loss"].astype(float),
        },
        index=wrong.index.astype(str),
    )


def filtered(
    table: pd.DataFrame,
    texts: pd.Series | None,
    *,
    true: str | None = None,
    predicted: str | None = None,
    query: str | None = None,
    among: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The rows of that true and predicted class whose text or id contains the query; None stands for any.

    Args:
        texts: the examples' texts by id, where there are any; otherwise the query is looked for in the ids.
        among: ids of a cluster.
    """
    keep = np.ones(len(table), dtype=bool)
    if true is not None:
        keep &= (table["true"] == true).to_numpy()
    if predicted is not None:
        keep &= (table["predicted"] == predicted).to_numpy()
    if among is not None:
        keep &= table.index.isin(list(among))
    if query:
        words = table.index.to_series() if texts is None else texts.loc[table.index]
        found = words.astype(str).str.contains(query, case=False, regex=False)
        keep &= (found | (table.index == query)).to_numpy()
    return table[keep]


def sorted_by(table: pd.DataFrame, key: str | None, descending: bool) -> pd.DataFrame:
    """The rows in another order; worst loss first without a key."""
    if key not in SORT_KEYS:
        return table
    return table.sort_values(key, ascending=not descending, kind="stable")


def confusion_counts(project: Project, predictions: pd.DataFrame) -> tuple[list[str], list[list[int]]]:
    """Class names and counts[i][j] of test examples of class i predicted as j.

    With more than `MATRIX_CLASSES` classes, those that take part in the most errors, in class order.
    """
    names = project.class_names
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (predictions["label"].to_numpy(), predictions["predicted"].to_numpy()), 1)
    chosen = np.arange(len(names))
    if len(names) > MATRIX_CLASSES:
        errors = counts.sum(0) + counts.sum(1) - 2 * np.diag(counts)
        chosen = np.sort(np.argsort(-errors, kind="stable")[:MATRIX_CLASSES])
    return [names[i] for i in chosen], counts[np.ix_(chosen, chosen)].tolist()


def neighbours(table: pd.DataFrame, example_id: str) -> tuple[int | None, str | None, str | None]:
    """Position of an example among the rows (None if it is not one), the id before it and the id after it."""
    ids = list(table.index)
    if example_id not in ids:
        return None, None, ids[0] if ids else None
    position = ids.index(example_id)
    before = ids[position - 1] if position > 0 else None
    after = ids[position + 1] if position + 1 < len(ids) else None
    return position, before, after
