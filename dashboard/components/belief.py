"""An example and what the model says of it: the input and one bar per class, or two (before and after)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboard.components.mounting import register
from dashboard.views.classes import shown_classes

_mount = register("belief", "highlight")


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
    looked: Mapping[str, Any] | None = None,
) -> None:
    """Draw the bars, the likeliest classes first; the true and the predicted class are always among them.

    Args:
        title: heading above the example; plain text, as the rest.
        input: the example as a person sees it; None leaves it out.
        size: edge of a picture, in CSS pixels.
        looked: what the model looked at (`views.saliency`), drawn over the input.
    """
    shown, rest = shown_classes(probabilities, true=true, predicted=predicted, after=after)
    _mount(
        key=key,
        data={
            "title": title,
            "id": example_id,
            "kind": kind,
            "input": input,
            "size": size,
            "looked": None if looked is None else dict(looked),
            "true": true,
            "predicted": predicted,
            "caption": "Probability of each class",
            "bars": [
                {"name": name, "before": probabilities[name], "after": None if after is None else after[name]}
                for name in shown
            ],
            "rest": rest,
        },
    )
