"""The engine's described training examples as the cards that pages draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboard.components.influence import Card


def cards(
    described: list[dict[str, Any]], class_names: list[str], predictions: int = 1, pinned: Sequence[str] = ()
) -> list[Card]:
    """Cards of one column; near-duplicates name the card they repeat.

    Args:
        predictions: how many are explained together.
        pinned: ids of those that are held in view.
    """
    result = []
    for card in described:
        original = card.get("original_label")
        planted = None if original is None or original != original else class_names[int(original)]
        result.append(
            Card(
                id=card["id"],
                score=card["score"],
                label=card["label"],
                input=card["input"],
                suspected=card["suspected_label_error"],
                suggested=card["suggested_label"],
                believed=_probability(card.get("held_out_probability")),
                duplicate_of=card["duplicate_of"],
                loss=card["loss"],
                pinned=card["id"] in pinned,
                copies=sum(other["duplicate_of"] == card["id"] for other in described),
                planted=planted if planted != card["label"] else None,
                explains=f"explains {card['explains']} of {predictions}" if predictions > 1 else None,
            )
        )
    return result


def _probability(value: float | None) -> str | None:
    """In two decimals; below a hundredth that is not said as zero."""
    if value is None:
        return None
    return "< .01" if value < 0.01 else f"= {value:.2f}".replace("0.", ".", 1)
