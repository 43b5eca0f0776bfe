"""Which classes get a bar, and what is said of the others."""

from __future__ import annotations

from collections.abc import Mapping

SHOWN_CLASSES = 8


def shown_classes(
    probabilities: Mapping[str, float],
    *,
    true: str,
    predicted: str,
    after: Mapping[str, float] | None = None,
) -> tuple[list[str], str]:
    """The classes that get a bar, the likeliest first, and what is said of the others (nothing if there are none)."""
    largest = {name: max(p, 0.0 if after is None else after[name]) for name, p in probabilities.items()}
    ranked = sorted(largest, key=lambda name: -largest[name])
    shown = [name for name in ranked if name in {true, predicted}]
    shown += [name for name in ranked if name not in shown][: max(0, SHOWN_CLASSES - len(shown))]
    shown.sort(key=lambda name: -largest[name])
    rest = [name for name in ranked if name not in shown]
    return shown, _rest_words(len(rest), largest[rest[0]]) if rest else ""


def _rest_words(count: int, largest: float) -> str:
    bound = f"at most {100 * largest:.1f} %" if largest >= 0.001 else "below 0.1 %"
    return f"{count} further class{'es' if count > 1 else ''}, {'each ' if count > 1 else ''}{bound}"
