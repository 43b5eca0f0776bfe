"""What a model says of each training label that it did not learn from, as stored with a prepared project. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attribution.errors import ProjectError
from attribution.projects.ledger import Ledger

HELD_OUT = "held_out.npy"
"""Beside the gradient index, in its ledger: it belongs to the same model and data."""

UNLIKELY = 0.1
"""A label looks wrong where its held-out probability is below this, and another class has at least `CLEAR`.

Measured on digits, 10 % (20 %) of the labels planted wrong: 80 % (82 %) of them look wrong so, and 100 % (99 %) of
those that do are planted; 99 % of them get their original label as ``best``. See ``docs/suggestion.json``.
"""

CLEAR = 0.5

FOLDS = 5
"""Of the cross-validation; also the fewest examples of a class for its labels to be judged."""


@dataclass(frozen=True)
class HeldOut:
    """Probabilities of the classes for each training example, by a model that was not shown its label.

    Args:
        probabilities: (N, C).
        labels: class numbers (N,) as the data have them.
        judged: (N,) False where there are too few examples of the class to say anything of its labels.
    """

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]
    judged: NDArray[np.bool_]

    @cached_property
    def of_label(self) -> NDArray[np.float32]:
        """The probability of each example's own label, (N,)."""
        found: NDArray[np.float32] = self.probabilities[np.arange(len(self.labels)), self.labels]
        return found

    @cached_property
    def best(self) -> NDArray[np.int64]:
        """The most probable class of each example, (N,)."""
        found: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return found

    @cached_property
    def disbelieved(self) -> NDArray[np.bool_]:
        """Whether the label of each example is improbable, whatever else it may be, (N,)."""
        found: NDArray[np.bool_] = self.judged & (self.of_label < UNLIKELY)
        return found

    @cached_property
    def mislabelled(self) -> NDArray[np.bool_]:
        """Whether each label looks wrong: improbable, and clear what it should be (``best``), (N,)."""
        found: NDArray[np.bool_] = self.disbelieved & (self.probabilities.max(axis=1) >= CLEAR)
        return found


def judged_labels(labels: NDArray[np.int64], classes: int) -> NDArray[np.bool_]:
    """Whether enough examples have the label of each example for it to be judged, (N,)."""
    found: NDArray[np.bool_] = (np.bincount(labels, minlength=classes) >= FOLDS)[labels]
    return found


def stored_held_out(index: Path, labels: NDArray[np.int64]) -> HeldOut | None:
    """What is stored beside the index in this folder; None where it was never computed or is damaged."""
    try:
        ledger = Ledger.read(index)
        if HELD_OUT not in ledger.files:
            return None
        probabilities: NDArray[np.float32] = np.load(ledger.verified(HELD_OUT), allow_pickle=False)
    except (ProjectError, OSError, ValueError):
        return None
    if probabilities.ndim != 2 or len(probabilities) != len(labels):
        return None
    return HeldOut(probabilities, labels, judged_labels(labels, probabilities.shape[1]))
