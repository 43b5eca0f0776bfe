"""Does the model know its data? Accuracy on a sample of either split, and labels that look exchanged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attribution.checking.finding import Finding, percent
from attribution.intervals import wilson_interval

GUESSING = 0.1
"""Cohen's kappa up to which a model is no better than guessing by the frequencies of labels and predictions."""

POOR = 0.4
"""Kappa up to which a model fits its training data badly (Landis and Koch 1977 call 0.41 to 0.60 moderate)."""

ENOUGH = 100
"""Examples without which a low accuracy is no proof."""

EXCHANGED_SHARE, EXCHANGED_GAIN = 0.5, 0.2
"""What exchanging labels must reach among the examples of these classes, and gain, to be worth a word."""

DECISIVE = 4.5
"""Standard errors that the gain must exceed (McNemar 1947): the best of many orders looks good by chance."""

Confusion = NDArray[np.int64]
"""Examples (C, C) of true class i that are predicted as j."""


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Confusion:
    """Counts of a sample."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def kappa(counts: Confusion) -> float:
    """Agreement beyond chance (Cohen 1960): 1 is perfect, 0 what guessing by the frequencies reaches."""
    total = counts.sum()
    agreed = np.trace(counts) / total
    chance = float(counts.sum(axis=0) @ counts.sum(axis=1)) / total**2
    return float((agreed - chance) / (1 - chance)) if chance < 1 else 1.0


@dataclass(frozen=True)
class Exchange:
    """Classes whose labels look exchanged, in a circle.

    Args:
        classes: class numbers; examples labelled ``classes[i]`` are predicted as ``classes[i + 1]``, the last as the
            first.
        before, after: correct predictions among their examples as labelled, and with the labels exchanged.
        examples: how many there are.
    """

    classes: list[int]
    before: int
    after: int
    examples: int


def exchanges(counts: Confusion) -> list[Exchange]:
    """Circles of the relabelling that fits predictions best (Kuhn 1955), those that are beyond doubt.

    Beyond doubt is a gain that is large and far from what chance gives.
    """
    from scipy.optimize import linear_sum_assignment

    # Where two assignments are equally good, leaving labels as they are wins.
    rows, columns = linear_sum_assignment(
        counts * (len(counts) + 1) + np.eye(len(counts), dtype=np.int64), True
    )
    target = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    found, seen = [], set()
    for start in range(len(counts)):
        circle = [start]
        while target[circle[-1]] != start:
            circle.append(target[circle[-1]])
        if start in seen or len(circle) == 1:
            continue
        seen.update(circle)
        before = int(sum(counts[i, i] for i in circle))
        after = int(sum(counts[i, target[i]] for i in circle))
        examples = int(counts[circle].sum())
        if _believed(before, after, examples):
            found.append(Exchange(circle, before, after, examples))
    return found


def _believed(before: int, after: int, examples: int) -> bool:
    if not examples or after / examples < max(EXCHANGED_SHARE, before / examples + EXCHANGED_GAIN):
        return False
    return after - before > DECISIVE * math.sqrt(after + before)


def fit_findings(
    counts: Mapping[str, Confusion], class_names: Sequence[str], sizes: Mapping[str, int]
) -> list[Finding]:
    """Accuracy on both samples, and exchanged labels.

    Args:
        counts: confusion of the sample of ``"train"`` and ``"test"``.
        sizes: of the whole splits.
    """
    train, test = counts["train"], counts["test"]
    exchanged = exchanges(train + test)
    return [
        _training(train, test, sizes["train"]),
        _accuracy("test accuracy", "ok", test, sizes["test"], "test"),
        _exchange(exchanged, class_names),
    ]


def _training(train: Confusion, test: Confusion, size: int) -> Finding:
    agreement, sampled = kappa(train), int(train.sum())
    name, split = "train accuracy", "training"
    wrong_data = (
        "The model is probably paired with other data, another label order, other preprocessing or untrained weights: "
        "check --model, --train and --label."
    )
    if agreement <= GUESSING:
        severity = "problem" if sampled >= ENOUGH else "warning"
        words = "no better than guessing"
        return _accuracy(name, severity, train, size, split, words, wrong_data)
    if agreement <= POOR:
        return _accuracy(name, "warning", train, size, split, "a poor fit", wrong_data)
    low = wilson_interval(int(np.trace(test)), int(test.sum()))[0]
    high = wilson_interval(int(np.trace(train)), sampled)[1]
    if high < low:
        remedy = "Check that the tables are not exchanged, and that this is the data that the model was trained on."
        return _accuracy(name, "warning", train, size, split, "less than on the test data", remedy)
    return _accuracy(name, "ok", train, size, split)


def _accuracy(
    name: str, severity: str, counts: Confusion, size: int, split: str, words: str = "", remedy: str = ""
) -> Finding:
    right, total = int(np.trace(counts)), int(counts.sum())
    low, high = wilson_interval(right, total)
    scope = f"all {total:,}" if total == size else f"a sample of {total:,}"
    interval = "" if total == size else f" (95 % interval {100 * low:.1f} to {percent(high)})"
    said = f": {words}" if words else ""
    return Finding(
        name,
        severity,  # type: ignore[arg-type]
        f"{percent(right / total)} of {scope} {split} examples are predicted as labelled{interval}{said}.",
        remedy,
        {"accuracy": right / total, "low": low, "high": high, "sample": total, "kappa": kappa(counts)},
    )


def _exchange(found: list[Exchange], class_names: Sequence[str]) -> Finding:
    name = "label order"
    if not found:
        return Finding(
            name, "ok", "No other order of the labels fits the predictions better.", numbers={"exchanged": []}
        )
    circles = [[class_names[number] for number in exchange.classes] for exchange in found]
    words = "; ".join(
        " → ".join(f"'{one}'" for one in [*circle, circle[0]])
        + f" ({percent(exchange.after / exchange.examples)} of {exchange.examples:,} instead of "
        f"{percent(exchange.before / exchange.examples)})"
        for circle, exchange in zip(circles, found, strict=True)
    )
    return Finding(
        name,
        "problem",
        f"Labels look exchanged: examples labelled with one are predicted as the next, {words}.",
        "Give the labels the numbers that the model was trained with, or mend id2label in its config.json.",
        {
            "exchanged": [
                {
                    "labels": circle,
                    "before": exchange.before,
                    "after": exchange.after,
                    "examples": exchange.examples,
                }
                for circle, exchange in zip(circles, found, strict=True)
            ]
        },
    )
