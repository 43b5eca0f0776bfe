"""Several mispredicted test examples as small cards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from dashboard.components.mounting import register, triggered

_mount = register("mistakes")


@dataclass(frozen=True)
class Mistake:
    """A test example that the model gets wrong.

    Args:
        input: as `components.table` draws it.
        chance: the model's probability of the true class.
        href: where it is investigated alone.
        now: what it is predicted as after a fix; None where nothing was fixed.
        chance_now: probability of the true class after the fix.
    """

    id: str
    input: str
    true: str
    predicted: str
    chance: float
    href: str | None = None
    now: str | None = None
    chance_now: float | None = None


def mistakes(
    key: str,
    cards: Sequence[Mistake],
    *,
    caption: str,
    kind: str,
    on_open: Callable[[str], None],
    on_leave_out: Callable[[str], None] | None = None,
) -> None:
    """Draw the cards.

    Args:
        caption: what assistive technology calls them together.
        kind: "text", "image" or "other".
        on_open: called with the id of a card that is to be investigated alone.
        on_leave_out: called with the id of a card that is to go; without it, none can.
    """

    def opened() -> None:
        card_id = triggered(key, "open")
        if card_id is not None:
            on_open(str(card_id))

    def left_out() -> None:
        card_id = triggered(key, "leave")
        if card_id is not None and on_leave_out is not None:
            on_leave_out(str(card_id))

    _mount(
        key=key,
        data={
            "cards": [asdict(card) for card in cards],
            "caption": caption,
            "kind": kind,
            "removable": on_leave_out is not None,
        },
        on_open_change=opened,
        on_leave_change=left_out,
    )
