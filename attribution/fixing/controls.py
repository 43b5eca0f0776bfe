"""Controls: the same steps with other training examples, which show whether the chosen ones matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Control:
    """Training examples that stand in for the chosen ones: ``positions[j]`` gets the treatment of edit j."""

    name: str
    title: str
    positions: list[int]


def control_sets(
    chosen: Sequence[int],
    labels: NDArray[np.int64],
    similarity: NDArray[np.float64] | None,
    seed: int,
    *,
    stand_in: Sequence[int] = (),
) -> list[Control]:
    """Two controls of the same size and the same (current) labels as the chosen examples.

    Where none are chosen, of one example of each of the classes ``stand_in``.

    ``random_same_class`` draws from each class at random, without the chosen ones; ``nearest_representation``
    takes the examples of each class most similar to the test examples (``similarity``, (N,); None leaves it out).
    Where a class has too few others, an example is used again.
    """
    generator = np.random.default_rng(seed)
    classes = [int(labels[p]) for p in chosen] or list(stand_in)
    wanted = Counter(classes)
    taken = set(chosen)
    random_pool: dict[int, list[int]] = {}
    nearest_pool: dict[int, list[int]] = {}
    for label, count in wanted.items():
        members = np.flatnonzero(labels == label)
        others = np.array([p for p in members if int(p) not in taken], dtype=np.int64)
        random_pool[label] = _draw(generator, others if len(others) else members, count)
        if similarity is not None:
            ordered = members[np.argsort(-similarity[members], kind="stable")]
            nearest_pool[label] = [int(ordered[i % len(ordered)]) for i in range(count)]
    if not classes:
        return []
    controls = [
        Control("random_same_class", "Random, same class", _dealt(classes, random_pool)),
    ]
    if similarity is not None:
        controls.append(
            Control("nearest_representation", "Nearest look-alikes", _dealt(classes, nearest_pool))
        )
    return controls


def _draw(generator: np.random.Generator, pool: NDArray[np.int64], count: int) -> list[int]:
    return [int(p) for p in generator.choice(pool, size=count, replace=count > len(pool))]


def _dealt(classes: Sequence[int], pools: dict[int, list[int]]) -> list[int]:
    remaining = {label: iter(pool) for label, pool in pools.items()}
    return [next(remaining[label]) for label in classes]
