"""A table whose rows open with one click; sortable, with actions, readable by a screen reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dashboard.components.mounting import register, triggered

CellKind = Literal[
    "example",
    "text",
    "word",
    "muted",
    "percent",
    "number",
    "count",
    "seconds",
    "points",
    "chip",
    "transition",
    "share",
    "actions",
    "tick",
]

_mount = register("table")


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Args:
        key: name of the cell in `Row.cells`.
        kind: how its cells are drawn (``word`` is never broken, ``share`` is a fraction with a bar, ``points`` a
            difference of fractions, ``tick`` a box that is ticked or not).
        link: cells are the row's link.
        minor: left out on narrow screens.
        tone: colour of a ``share`` bar.
    """

    key: str
    title: str
    kind: CellKind
    align: Literal["left", "right"] = "left"
    sortable: bool = False
    link: bool = False
    minor: bool = False
    tone: Literal["", "culprit", "helper"] = ""


@dataclass(frozen=True)
class Row:
    """A row: the id that events carry, what assistive technology calls it, where it leads, and its cells.

    Args:
        unavailable: a sentence across all columns but the first instead of cells; the row is greyed.
    """

    id: str
    name: str
    cells: dict[str, Any] = field(default_factory=dict)
    href: str | None = None
    unavailable: str | None = None


def table(
    key: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    caption: str,
    kind: str = "other",
    thumbnail: int = 44,
    height: int | None = None,
    sort: tuple[str, bool] | None = None,
    on_open: Callable[[str], None] | None = None,
    on_sort: Callable[[str], None] | None = None,
    on_act: Callable[[str, str], None] | None = None,
    on_tick: Callable[[Sequence[str], bool], None] | None = None,
) -> None:
    """Draw the table.

    Args:
        kind: "text", "image" or "other": what ``example`` cells hold.
        thumbnail: edge of a picture, in CSS pixels.
        height: the table scrolls beyond so many CSS pixels.
        sort: key of the column the rows are sorted by, and whether descending.
        on_open: called with the id of a row that was clicked, before the script runs again.
        on_sort: called with the key of a column heading.
        on_act: called with the name of an action and the id of its row.
        on_tick: called with the ids of rows whose box changed, and whether they are ticked now: of one row or, from
            the heading's box, of all rows.
    """

    def opened() -> None:
        row_id = triggered(key, "open")
        if on_open is not None and row_id is not None:
            on_open(str(row_id))

    def sorted_by() -> None:
        column = triggered(key, "sort")
        if on_sort is not None and column is not None:
            on_sort(str(column))

    def acted() -> None:
        action = triggered(key, "act")
        if on_act is not None and action is not None:
            on_act(str(action["name"]), str(action["id"]))

    def ticked() -> None:
        tick = triggered(key, "tick")
        if on_tick is not None and tick is not None:
            on_tick([str(row_id) for row_id in tick["ids"]], bool(tick["on"]))

    _mount(
        key=key,
        data={
            "columns": [asdict(column) for column in columns],
            "rows": [asdict(row) for row in rows],
            "caption": caption,
            "kind": kind,
            "thumbnail": thumbnail,
            "height": height,
            "sort": None if sort is None else {"key": sort[0], "descending": sort[1]},
        },
        on_open_change=opened,
        on_sort_change=sorted_by,
        on_act_change=acted,
        on_tick_change=ticked,
    )
