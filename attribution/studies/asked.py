"""What studies ask: which methods, about which test examples, and what of retrained models is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from attribution.engine import Engine
from attribution.measurements import measurement_for
from attribution.methods import default_method, method_named

GOLDEN = (5**0.5 - 1) / 2


def methods_asked(engine: Engine, wanted: Sequence[str] | None, beside: Sequence[str]) -> list[str]:
    """The wanted methods; if none are named the default one and those ``beside`` it that can run here.

    Raises:
        NotFoundError: no such method.
    """
    if wanted is not None:
        return list(dict.fromkeys(method_named(name).info.name for name in wanted))
    names = dict.fromkeys([default_method(engine.facts), *beside])
    return [name for name in names if method_named(name).missing(engine.facts) is None]


def evenly(size: int, most: int) -> list[int]:
    """At most ``most`` of the places 0 … size - 1, at about even distances however many they are.

    Each is a golden section of the circle further than the one before (an additive recurrence, the sequence of least
    discrepancy), so that every beginning is as evenly spread as its length allows.
    """

    def places() -> Iterator[int]:
        seen: set[int] = set()
        number = 0
        while len(seen) < min(size, most):
            place = int((0.5 + number * GOLDEN) % 1.0 * size)
            number += 1
            if place not in seen:
                seen.add(place)
                yield place

    return list(places())


def query_ids(engine: Engine, count: int, seed: int) -> list[str]:
    """Test examples to ask about: mispredictions at even distances in the order of their loss, then any others."""
    wrong = [str(row["id"]) for row in engine.project.mispredictions()]
    chosen = [wrong[place] for place in evenly(len(wrong), count)]
    table = engine.project.predictions("test")
    right = table.index[table["label"] == table["predicted"]].to_numpy()
    drawn = np.random.default_rng([seed, 3]).permutation(len(right))[: max(count - len(chosen), 0)]
    return chosen + [str(right[place]) for place in drawn]


def measured(
    engine: Engine, positions: Sequence[int], measurement: str, logits: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The measurement of every query in every one of two-dimensionally many models, (A, B, Q).

    Args:
        positions: of the queries, test examples.
        logits: (A, B, Q, C).
    """
    table = engine.project.predictions("test")
    found = np.empty(logits.shape[:3])
    for number, position in enumerate(positions):
        row = table.iloc[position]
        label = int(row["label"])
        value = measurement_for(
            measurement,
            class_names=engine.project.class_names,
            true=label,
            predicted=int(row["predicted"]),
            loss=engine.task.loss,
            own=engine.task.measurements,
        ).value
        rows = torch.from_numpy(logits[:, :, number].reshape(-1, logits.shape[3])).double()
        values = value(rows, torch.full((len(rows),), label))
        found[:, :, number] = values.detach().numpy().reshape(logits.shape[:2])
    return found
