"""Sizes, classes and labels: what there is of each class in either split, and how the tables' labels were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.checking.finding import Finding, counted, listed, percent

IMBALANCED = 100
"""The commonest class so many times as frequent as the rarest in training is worth a warning."""

FEW = 5
"""Fewer training examples of a class than these are worth a note."""

MAPPED = 10
"""Labels that the sentence on their mapping names at most."""

Counts = Mapping[str, NDArray[np.int64]]
"""Examples of each class (C,), by split."""


def size_finding(counts: Counts, class_names: Sequence[str]) -> Finding:
    """How many examples and classes there are."""
    rows = {split: int(found.sum()) for split, found in counts.items()}
    return Finding(
        "sizes",
        "ok",
        f"{rows['train']:,} training and {rows['test']:,} test examples of {len(class_names)} classes.",
        numbers={**rows, "classes": len(class_names)},
    )


def balance_finding(counts: Counts, class_names: Sequence[str]) -> Finding:
    """Classes that a split lacks, and classes that hardly occur."""
    train, test = counts["train"], counts["test"]
    numbers: dict[str, Any] = {
        "train": dict(zip(class_names, train.tolist(), strict=True)),
        "test": dict(zip(class_names, test.tolist(), strict=True)),
    }
    lacking = [class_names[i] for i in np.flatnonzero(train == 0).tolist()]
    unlearned = [class_names[i] for i in np.flatnonzero((train == 0) & (test > 0)).tolist()]
    untested = [class_names[i] for i in np.flatnonzero((test == 0) & (train > 0)).tolist()]
    present = train[train > 0]
    ratio = float(present.max() / present.min()) if len(present) else 0.0
    numbers |= {"missing_in_train": lacking, "missing_in_test": untested, "ratio": ratio}
    commonest, rarest = int(train.argmax()), int(np.where(train > 0, train, train.max() + 1).argmin())
    words = (
        f"in training '{class_names[commonest]}' has {counted(int(train[commonest]), 'example')} and "
        f"'{class_names[rarest]}' {int(train[rarest]):,}"
    )
    if len(present) < 2:
        return Finding(
            "balance",
            "problem",
            f"All {int(train.sum()):,} training examples are of one class, '{class_names[commonest]}'.",
            "Check the label column: with one class there is nothing to confuse.",
            numbers,
        )
    if unlearned:
        sentence = f"The test data has {listed(unlearned)}, of which there is no training example."
        remedy = "Check that both tables label alike; no training example can explain or mend these."
        return Finding("balance", "warning", sentence, remedy, numbers)
    if lacking:
        sentence = f"The model knows {listed(lacking)}, which neither split has: {words}."
        remedy = "Check that this is the data that the model was trained on."
        return Finding("balance", "warning", sentence, remedy, numbers)
    if ratio >= IMBALANCED:
        sentence = f"Classes are far from balanced: {words}."
        remedy = "Look at accuracy by class; what is rare is seldom predicted, whatever its examples say."
        return Finding("balance", "warning", sentence, remedy, numbers)
    if untested:
        sentence = f"The test data lacks {listed(untested)}: {words}."
        return Finding("balance", "note", sentence, "Mispredictions of these cannot show.", numbers)
    if train.min() < FEW:
        sentence = f"Some classes are small: {words}."
        return Finding("balance", "note", sentence, "A fix for these has few examples to act on.", numbers)
    commonest_share = percent(float(train.max() / train.sum()))
    return Finding("balance", "ok", f"Every class is there: {words} ({commonest_share}).", "", numbers)


def mapping_finding(labels: Mapping[str, int], class_names: Sequence[str]) -> Finding:
    """Which label of the tables stands for which class.

    Args:
        labels: the labels as they stand in the tables, with the class number each was read as.
    """
    pairs = sorted(labels.items(), key=lambda pair: (pair[1], pair[0]))
    changed = [(label, class_names[number]) for label, number in pairs if label != class_names[number]]
    numbers = {"labels": {label: class_names[number] for label, number in pairs}}
    if not changed:
        return Finding("labels", "ok", "Labels are the model's own class names.", numbers=numbers)
    words = ", ".join(f"'{label}' as '{name}'" for label, name in changed[:MAPPED])
    more = f" and {len(changed) - MAPPED:,} more" if len(changed) > MAPPED else ""
    return Finding(
        "labels",
        "note",
        f"Labels are read {words}{more}.",
        "If that is not what they mean, mend id2label in the model's config.json.",
        numbers,
    )
