"""The line that guides a first visit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dashboard.components.mounting import register, triggered

_mount = register("guide")


def guide_line(
    key: str, steps: Sequence[tuple[int, str]], *, count: int, done: bool, on_close: Callable[[], None]
) -> None:
    """Draw the steps of one page, one at a time, unless this browser has closed the guide before.

    Args:
        steps: number and words of each.
        count: how many steps there are on all pages.
        done: whether the last one is reached.
        on_close: called when it is closed.
    """

    def closed() -> None:
        if triggered(key, "close"):
            on_close()

    _mount(
        key=key,
        data={"steps": [{"number": n, "text": text} for n, text in steps], "count": count, "done": done},
        on_close_change=closed,
    )
