"""An example and what the model says of it: the input and one bar per class, or two (before and after)."""

from __future__ import annotations

from collections.abc import Mapping

from dashboard.components.mounting import register

SHOWN_CLASSES = 8

_mount = register("belief")


def belief(
    key: str,
    probabilities: Mapping[str, float],
    *,
    true: str,
    predicted: str,
    after: Mapping[str, float] | None = None,
    title: str = "",
    example_id: str = "",
    input: str | None = None,
    kind: str = "other",
    size: int = 168,
) -> None:
    """Draw the bars, the likeliest classes first; the true and the predicted class are always among them.

    Args:
        title: heading above the example; plain text, as the rest.
        input: the example as a person sees it; None leaves it out.
        size: edge of a picture, in CSS pixels.
    """
    largest = {name: max(p, 0.0 if after is None else after[name]) for name, p in probabilities.items()}
    ranked = sorted(largest, key=lambda name: -largest[name])
    shown = [name for name in ranked if name in {true, predicted}]
    shown += [name for name in ranked if name not in shown][: max(0, SHOWN_CLASSES - len(shown))]
    shown.sort(key=lambda name: -largest[name])
    rest = [name for name in ranked if name not in shown]
    _mount(
        key=key,
        data={
            "title": title,
            "id": example_id,
            "kind": kind,
            "input": input,
            "size": size,
            "true": true,
            "predicted": predicted,
            "caption": "Probability of each class",
            "bars": [
                {"name": name, "before": probabilities[name], "after": None if after is None else after[name]}
                for name in shown
            ],
            "rest": _rest_words(len(rest), largest[rest[0]]) if rest else "",
        },
    )


def _rest_words(count: int, largest: float) -> str:
    bound = f"at most {100 * largest:.1f} %" if largest >= 0.001 else "below 0.1 %"
    return f"{count} further class{'es' if count > 1 else ''}, {'each ' if count > 1 else ''}{bound}"
