"""Which training examples are listed as culprits and helpers, in which order, and which belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from dashboard.components.influence import Card

if TYPE_CHECKING:
    from attribution.explanation import Explanation

SortKey = Literal["influence", "loss", "label"]
SORT_TITLES: dict[SortKey, str] = {"influence": "Influence", "loss": "Training loss", "label": "Label"}


@dataclass(frozen=True)
class CardFilter:
    """What is listed: labelled so, suspected label errors only, text or id containing so; everything by default."""

    label: str | None = None
    suspected: bool = False
    query: str = ""
    tag: str | None = None

    @property
    def count(self) -> int:
        """How many conditions there are."""
        return sum((self.label is not None, self.suspected, bool(self.query), self.tag is not None))

    def mask(self, explanation: Explanation, tagged: Sequence[str] = ()) -> NDArray[np.bool_] | None:
        """Which training examples may be listed (n_train,); None for all.

        Args:
            tagged: ids of those with the tag.
        """
        if not self.count:
            return None
        project = explanation.project
        keep = np.ones(len(explanation.scores), dtype=bool)
        if self.label is not None:
            names = project.class_names
            number = names.index(self.label) if self.label in names else -1
            keep &= (project.predictions("train")["label"] == number).to_numpy()
        if self.suspected:
            keep &= explanation.looks_mislabelled
        if self.query:
            examples = project.examples("train")
            ids = examples.index.to_series().astype(str)
            words = examples["text"].astype(str) if project.kind == "text" else ids
            found = words.str.contains(self.query, case=False, regex=False).to_numpy()
            keep &= found | (ids == self.query).to_numpy()
        if self.tag is not None:
            keep &= project.examples("train").index.isin(list(tagged))
        return keep


def ordered(cards: Sequence[Card], key: SortKey) -> list[Card]:
    """The cards by another key; equals stay in the order of their influence."""
    if key == "loss":
        return sorted(cards, key=lambda card: -card.loss)
    if key == "label":
        return sorted(cards, key=lambda card: card.label)
    return list(cards)


def grouped(cards: Sequence[Card]) -> list[Card]:
    """The cards with the groups they belong to; those of a group follow its first one.

    Alike are near-duplicates, and examples with the same label that look like the same other class.
    """
    groups: dict[tuple[str, ...], list[Card]] = {}
    for card in cards:
        groups.setdefault(_alike(card), []).append(card)
    result = []
    for key, members in groups.items():
        title = _title(key, members) if len(members) > 1 else None
        result += [replace(card, group=title) for card in members]
    return result


def _alike(card: Card) -> tuple[str, ...]:
    if card.suspected and card.suggested and card.suggested != card.label:
        return ("looks like", card.label, card.suggested)
    if card.duplicate_of or card.copies:
        return ("duplicates", card.duplicate_of or card.id)
    return ("alone", card.id)


def _title(key: tuple[str, ...], members: Sequence[Card]) -> str:
    if key[0] == "looks like":
        return f"{len(members)} labelled {key[1]} look like {key[2]}"
    return f"{len(members)} near-duplicates"
