"""Random scores: what a method must beat to say anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Method, MethodInfo, register

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.query import Query


@register
class Random(Method):
    """Standard normal scores, the same each time for the same test example.

    Args:
        seed: another one gives other scores.
    """

    info = MethodInfo(
        name="random",
        title="Random (baseline)",
        citation="baseline",
        needs=[],
        cost="nothing",
        calibrated=False,
        family="baseline",
        one_line="Scores drawn at random, for comparison.",
    )
    from_gradients = False

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def scores(self, query: Query) -> Tensor:
        import numpy as np
        import torch

        count = query.task.size("train")
        rows = [
            np.random.default_rng([self._seed, target.position]).standard_normal(count)
            for target in query.targets
        ]
        return query.asked(torch.from_numpy(np.stack(rows)).T).T
