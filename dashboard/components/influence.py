"""Culprits and helpers as two columns of cards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dashboard.components.mounting import register, triggered

_mount = register("influence", "highlight")


@dataclass(frozen=True)
class Card:
    """A training example with its influence.

    Args:
        score: positive for culprits, negative for helpers.
        suspected: whether its label looks wrong; ``suggested`` is the class it looks like, if known.
        believed: relation and number, the probability of its label by a model that was not shown it.
        duplicate_of: id of a near-duplicate further up; ``copies`` counts its own near-duplicates.
        planted: its right class, where the label was planted wrong.
        explains: of how many of several predictions it is among the strongest, in words.
        loss: its training loss, in nats.
        group: what it has in common with the cards beside it that say the same; None where it stands alone.
        pinned: whether it is held in view to be compared.
    """

    id: str
    score: float
    label: str
    input: str
    suspected: bool = False
    suggested: str | None = None
    believed: str | None = None
    duplicate_of: str | None = None
    copies: int = 0
    planted: str | None = None
    explains: str | None = None
    loss: float = 0.0
    group: str | None = None
    pinned: bool = False


@dataclass(frozen=True)
class CardColumn:
    """One column of cards under a heading that says which way they pushed."""

    role: Literal["culprits", "helpers"]
    title: str
    subtitle: str
    cards: Sequence[Card]
    empty: str


def influence(
    key: str,
    columns: Sequence[CardColumn],
    *,
    kind: str,
    classes: Sequence[str],
    chosen: Mapping[str, tuple[str, str | None]],
    reveal: bool,
    on_choose: Callable[[str, str | None, str | None], None],
    own_scales: bool = False,
    looks: Mapping[str, Mapping[str, Any]] | None = None,
    on_look: Callable[[str], None] | None = None,
    whys: Mapping[str, Mapping[str, Any]] | None = None,
    on_why: Callable[[str], None] | None = None,
    on_choose_all: Callable[[Sequence[str], str | None], None] | None = None,
    on_pin: Callable[[str], None] | None = None,
) -> None:
    """Draw the columns.

    Args:
        chosen: action and class name by training id, for the examples in the fix tray.
        reveal: whether planted label errors are marked.
        own_scales: whether score bars are as long as the column's own largest score says, where units differ.
        on_choose: called with training id, action (None takes it out of the tray) and class name.
        looks: what the model looked at in training examples, by id (`views.saliency`), drawn over them.
        on_look: called with the id of a card over which that is to be drawn, or no longer; without it, none can.
        whys: parts of scores, by id (`views.score_parts`).
        on_why: called with the id of a card whose score is to be taken apart, or no longer; without it, none can.
        on_choose_all: called with the ids of a group and the class that all of them are to be relabelled to.
        on_pin: called with the id of a card that is to be held in view, or no longer; without it, none can.
    """

    def choose() -> None:
        choice = triggered(key, "choose")
        if choice is not None:
            on_choose(str(choice["id"]), choice["action"], choice["label"])

    def look() -> None:
        card_id = triggered(key, "look")
        if card_id is not None and on_look is not None:
            on_look(str(card_id))

    def why() -> None:
        card_id = triggered(key, "why")
        if card_id is not None and on_why is not None:
            on_why(str(card_id))

    def choose_all() -> None:
        choice = triggered(key, "choose_all")
        if choice is not None and on_choose_all is not None:
            on_choose_all([str(one) for one in choice["ids"]], choice["label"])

    def pin() -> None:
        card_id = triggered(key, "pin")
        if card_id is not None and on_pin is not None:
            on_pin(str(card_id))

    def largest(compared: Sequence[CardColumn]) -> float:
        return max((abs(card.score) for column in compared for card in column.cards), default=1.0)

    _mount(
        key=key,
        data={
            "columns": [
                asdict(column) | {"largest": largest([column] if own_scales else columns)}
                for column in columns
            ],
            "kind": kind,
            "classes": list(classes),
            "chosen": {name: {"action": action, "label": label} for name, (action, label) in chosen.items()},
            "reveal": reveal,
            "looks": {name: dict(look) for name, look in (looks or {}).items()},
            "lookable": on_look is not None,
            "whys": {name: dict(parts) for name, parts in (whys or {}).items()},
            "askable": on_why is not None,
            "pinnable": on_pin is not None,
            "groups_chosen": on_choose_all is not None,
        },
        on_choose_change=choose,
        on_look_change=look,
        on_why_change=why,
        on_choose_all_change=choose_all,
        on_pin_change=pin,
    )
