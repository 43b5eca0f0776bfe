"""`Explanation`: the training examples behind one prediction, as scores and as described cards."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attribution.common import common_order, explained_counts
from attribution.projects import Project
from attribution.projects.held_out import HeldOut

if TYPE_CHECKING:
    import pandas as pd

NEAR_DUPLICATE_COSINE = 0.998
"""Representations at least this similar are shown as near duplicates of one another."""


@dataclass
class Explanation:
    """Scores of all training examples for one measurement of one test example.

    Args:
        project: the project.
        example: the test example (`Project.example`).
        method: name of the method.
        measurement: name of the measurement.
        measurement_words: what it is, in words.
        scores: float32 (n_train,) in training order; positive pushed the measurement up.
        seconds: {"query": method alone, "total": with the exact re-rank and descriptions}.
        trust: what is cheaply known about how far to believe it; ``sentence`` says it in words.
        representations: (n_train, D) or None; used to group near duplicates.
        others: further test examples that were explained together with it: ``scores`` are then means over all of them.
        each: the scores (Q, n_train) of each of the Q test examples; None where ``scores`` are those of the only one.
        held_out: what a model that was not shown them says of the training labels; without it, the trained model
            itself says which look wrong.
    """

    project: Project
    example: dict[str, Any]
    method: str
    measurement: str
    measurement_words: str
    scores: NDArray[np.float32]
    seconds: dict[str, float]
    trust: dict[str, Any]
    representations: NDArray[np.float32] | None = field(default=None, repr=False)
    held_out: HeldOut | None = field(default=None, repr=False)
    others: list[dict[str, Any]] = field(default_factory=list)
    each: NDArray[np.float32] | None = field(default=None, repr=False)

    @property
    def examples(self) -> list[dict[str, Any]]:
        """All test examples that the scores are about; one, unless a group was explained."""
        return [self.example, *self.others]

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        # Ties are broken by position, so that the same scores always give the same list.
        return np.argsort(-self.scores, kind="stable")

    @cached_property
    def _explained(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """In how many of the predictions each training example is among the strongest culprits and helpers."""
        each = self.scores[None] if self.each is None else self.each
        return explained_counts(each), explained_counts(-each)

    def culprits(self, top: int, *, among: NDArray[np.bool_] | None = None) -> list[dict[str, Any]]:
        """The ``top`` strongest positive scores, strongest first, as cards.

        Of a group those first that are among the strongest culprits of the most test examples: ``explains`` says of
        how many.

        Args:
            among: which training examples may be listed (n_train,); all of them without it.
        """
        return self._strongest(top, among, sign=1)

    def helpers(self, top: int, *, among: NDArray[np.bool_] | None = None) -> list[dict[str, Any]]:
        """The ``top`` strongest negative scores, strongest first, as cards; else as `culprits`."""
        return self._strongest(top, among, sign=-1)

    def _strongest(self, top: int, among: NDArray[np.bool_] | None, *, sign: int) -> list[dict[str, Any]]:
        scores, counts = sign * self.scores, None
        if self.others:
            counts = self._explained[0 if sign > 0 else 1]
            order = common_order(scores, counts)
        else:
            order = self._order[::sign]
        if among is not None:
            order = order[among[order]]
        best = [int(position) for position in order[:top] if scores[position] > 0]
        return self._cards(best, counts)

    @cached_property
    def looks_mislabelled(self) -> NDArray[np.bool_]:
        """Which training labels look wrong (n_train,): to a model that was not shown them, else to the model itself."""
        if self.held_out is not None:
            return self.held_out.mislabelled
        table = self.project.predictions("train")
        wrong: NDArray[np.bool_] = (table["label"] != table["predicted"]).to_numpy()
        return wrong

    def contract(self, top: int) -> dict[str, Any]:
        """The shape that ``tracefix explain --json`` prints."""
        group = {"examples": self.examples} if self.others else {}
        return {
            "example": self.example,
            **group,
            "method": self.method,
            "measurement": self.measurement,
            "culprits": [_short(card) for card in self.culprits(top)],
            "helpers": [_short(card) for card in self.helpers(top)],
            "seconds": self.seconds,
            "trust": self.trust,
        }

    def _cards(
        self, positions: list[int], explained: NDArray[np.int64] | None = None
    ) -> list[dict[str, Any]]:
        predictions = self.project.predictions("train")
        names = self.project.class_names
        described = self.project.describe("train", predictions.index[positions])
        cards = []
        for position, card in zip(positions, described, strict=True):
            row = predictions.iloc[position]
            suspected, instead, believed = self._judged(position, row)
            cards.append(
                {
                    **card,
                    "score": float(self.scores[position]),
                    "loss": float(row["loss"]),
                    "position": position,
                    "predicted": names[int(row["predicted"])],
                    "suspected_label_error": suspected,
                    "suggested_label": names[instead] if suspected else None,
                    "held_out_probability": believed,
                    "duplicate_of": None,
                    **({} if explained is None else {"explains": int(explained[position])}),
                }
            )
        self._mark_duplicates(cards)
        return cards

    def _judged(self, position: int, row: pd.Series) -> tuple[bool, int, float | None]:
        """Whether a label looks wrong, what it should be, and its probability for a model that was not shown it."""
        if self.held_out is None:
            return int(row["predicted"]) != int(row["label"]), int(row["predicted"]), None
        return (
            bool(self.held_out.mislabelled[position]),
            int(self.held_out.best[position]),
            float(self.held_out.of_label[position]),
        )

    def _mark_duplicates(self, cards: list[dict[str, Any]]) -> None:
        """Name, for each card, the first stronger card that it nearly repeats."""
        if self.representations is None or len(cards) < 2:
            return
        vectors = self.representations[[card["position"] for card in cards]].astype(np.float64)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.maximum(lengths, 1e-12)
        similar = unit @ unit.T >= NEAR_DUPLICATE_COSINE
        for row, card in enumerate(cards):
            earlier = np.flatnonzero(similar[row, :row])
            if len(earlier) and lengths[row] > 0:
                card["duplicate_of"] = cards[int(earlier[0])]["id"]


def _short(card: dict[str, Any]) -> dict[str, Any]:
    shown = ("id", "score", "label", "input", "predicted", "suspected_label_error", "explains")
    return {name: card[name] for name in shown if name in card}
