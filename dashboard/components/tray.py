"""The examples in the fix tray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from dashboard.components.mounting import register, triggered

_mount = register("tray")


@dataclass(frozen=True)
class TrayItem:
    """A chosen training example: what it shows, the label it has, and what to do with it."""

    id: str
    input: str
    own_label: str
    action: str
    label: str | None


def tray_items(
    key: str,
    items: Sequence[TrayItem],
    *,
    kind: str,
    classes: Sequence[str],
    on_change: Callable[[str, str | None, str | None], None],
) -> None:
    """Draw the items; ``on_change`` gets training id, action (None takes it out) and class name."""

    def changed() -> None:
        change = triggered(key, "change")
        if change is not None:
            on_change(str(change["id"]), change["action"], change["label"])

    _mount(
        key=key,
        data={
            "items": [asdict(item) for item in items],
            "kind": kind,
            "classes": list(classes),
            "caption": "Chosen training examples",
        },
        on_change_change=changed,
    )
