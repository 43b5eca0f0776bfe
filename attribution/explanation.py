"""`Explanation`: the training examples behind one prediction, as scores and as described cards."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.projects import Project

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

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        # Ties are broken by position, so that the same scores always give the same list.
        return np.argsort(-self.scores, kind="stable")

    def culprits(self, top: int) -> list[dict[str, Any]]:
        """The ``top`` strongest positive scores, strongest first, as cards."""
        chosen = [int(p) for p in self._order[:top] if self.scores[p] > 0]
        return self._cards(chosen)

    def helpers(self, top: int) -> list[dict[str, Any]]:
        """The ``top`` strongest negative scores, strongest first, as cards."""
        chosen = [int(p) for p in self._order[::-1][:top] if self.scores[p] < 0]
        return self._cards(chosen)

    def contract(self, top: int) -> dict[str, Any]:
        """The shape that ``tracefix explain --json`` prints."""
        return {
            "example": self.example,
            "method": self.method,
            "measurement": self.measurement,
            "culprits": [_short(card) for card in self.culprits(top)],
            "helpers": [_short(card) for card in self.helpers(top)],
            "seconds": self.seconds,
            "trust": self.trust,
        }

    def _cards(self, positions: list[int]) -> list[dict[str, Any]]:
        predictions = self.project.predictions("train")
        names = self.project.class_names
        described = self.project.describe("train", predictions.index[positions])
        cards = []
        for position, card in zip(positions, described, strict=True):
            row = predictions.iloc[position]
            suspected = int(row["predicted"]) != int(row["label"])
            cards.append(
                {
                    **card,
                    "score": float(self.scores[position]),
                    "position": position,
                    "predicted": names[int(row["predicted"])],
                    "suspected_label_error": suspected,
                    "suggested_label": names[int(row["predicted"])] if suspected else None,
                    "duplicate_of": None,
                }
            )
        self._mark_duplicates(cards)
        return cards

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
    return {
        "id": card["id"],
        "score": card["score"],
        "label": card["label"],
        "input": card["input"],
        "predicted": card["predicted"],
        "suspected_label_error": card["suspected_label_error"],
    }
