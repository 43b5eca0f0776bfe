"""Measurements in words: what the switch calls them, and what culprits and helpers did to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attribution.common import STRONGEST
from attribution.methods import method_named
from attribution.projects import Edit

MEASURED = {
    "margin": "How far the predicted class is ahead of the true one; of a right prediction, how far it is from wrong.",
    "loss": "The training loss of this example at its true label.",
}
"""What is measured, by the names that every project has."""

WRONG_CLASS, TRUE_CLASS = ", the wrong class", ", the true class"
"""Ends of `directions`, which there is not room for everywhere."""


def measurement_title(name: str) -> str:
    """A short name for a button: a class or a function without what stands before it."""
    if name.startswith("logit:"):
        return f"logit of {name.removeprefix('logit:')}"
    return f"{name.rsplit(':', 1)[1]}()" if ".py:" in name else name


def unit_words(method: str, measurement: str) -> str:
    """The unit of the scores, where their size means something; a loss or a function may have any."""
    in_nats = measurement == "margin" or measurement.startswith("logit:")
    return ", in nats" if in_nats and method_named(method).info.calibrated else ""


def subtitles(example: dict[str, Any], measurement: str) -> tuple[str, str]:
    """What culprits and helpers did."""
    if measurement == "loss":
        return "Training on these raised the loss of this example.", "Training on these lowered it."
    if measurement.startswith("logit:"):
        target = measurement.removeprefix("logit:")
        return f"Training on these raised the logit of “{target}”.", "Training on these lowered it."
    if measurement != "margin":
        return (
            f"Training on these raised “{measurement_title(measurement)}”.",
            "Training on these lowered it.",
        )
    if example["true"] == example["predicted"]:
        return (
            f"Training on these pushed away from “{example['true']}”.",
            f"Training on these spoke for “{example['true']}”.",
        )
    return (
        f"Training on these pushed towards “{example['predicted']}”, the wrong class.",
        f"Training on these pushed back towards “{example['true']}”, the true class.",
    )


def directions(example: dict[str, Any], measurement: str) -> tuple[str, str]:
    """Which way a part of an input pushed that raised the measurement, and one that lowered it."""
    if measurement == "loss":
        return "raised the loss", "lowered the loss"
    if measurement.startswith("logit:"):
        target = measurement.removeprefix("logit:")
        return f"towards “{target}”", f"away from “{target}”"
    if measurement != "margin":
        title = measurement_title(measurement)
        return f"raised “{title}”", f"lowered “{title}”"
    if example["true"] == example["predicted"]:
        return f"away from “{example['true']}”", f"towards “{example['true']}”"
    return (
        f"towards “{example['predicted']}”, the wrong class",
        f"towards “{example['true']}”, the true class",
    )


def common_subtitles(count: int) -> tuple[str, str]:
    """What the common culprits and helpers of ``count`` predictions did, and how they are ordered."""
    sides = ("culprits", "helpers")
    culprits, helpers = (
        f"Each is among the {STRONGEST} strongest {side} of as many of the {count} as it explains, most first."
        for side in sides
    )
    return culprits, helpers


def effect_sentence(
    edits: Sequence[Edit], scores: Mapping[str, float], method: str, measurement: str
) -> str | None:
    """What removing the chosen culprits should do, by their scores; None where scores have no size or none is chosen.

    Args:
        scores: by training id.
    """
    removed = [
        edit.train_id for edit in edits if edit.action != "upweight" and scores.get(edit.train_id, 0) > 0
    ]
    if not removed or not unit_words(method, measurement):
        return None
    change = -sum(scores[train_id] for train_id in removed)
    which = "this one" if len(removed) == 1 else f"these {len(removed)}"
    return (
        f"By the scores, removing {which} should move the {measurement_title(measurement)} by about {change:+.2g} "
        "nats. The order of scores is more reliable than their size, which Verify measures."
    )
