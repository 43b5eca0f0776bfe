"""The confusion matrix as a table of buttons."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dashboard.components.mounting import register, triggered

_mount = register("confusion")


def confusion(
    key: str,
    classes: Sequence[str],
    counts: Sequence[Sequence[int]],
    *,
    selected: tuple[str | None, str | None],
    on_pick: Callable[[str | None, str | None], None],
) -> None:
    """Draw the matrix; ``counts[i][j]`` test examples of class i are predicted as class j.

    Args:
        selected: true and predicted class of the filter in force; None stands for any.
        on_pick: called with the filter that a click asks for.
    """

    def picked() -> None:
        choice = triggered(key, "pick")
        if choice is not None:
            on_pick(choice["true"], choice["predicted"])

    _mount(
        key=key,
        data={
            "classes": list(classes),
            "counts": [list(row) for row in counts],
            "selected": {"true": selected[0], "predicted": selected[1]},
            "caption": "Confusion matrix of the test examples: rows are true classes, columns predicted ones",
        },
        on_pick_change=picked,
    )
