"""How large an index may become."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

DEFAULT_BUDGET = 384 * 2**20
"""Bytes that the index of a project may take on disk, all points together."""

SMALLEST_WIDTH, LARGEST_WIDTH = 256, 8192
"""Numbers kept of an example at least, even beyond the budget, and at most: 5,461 find 99 % of the strongest 50 on the
`fashion` sample, and every number makes each question slower."""

SHARD_ROWS = 2048
"""Examples per file: what an interrupted preparation loses at most, and what is in memory at once while the index is
made or read, 32 MB in float16 at the largest width and twice that for a float32 copy."""


@dataclass(frozen=True)
class IndexPlan:
    """What is stored of each training gradient.

    Args:
        width: numbers per example and point.
        dtype: their type, "float32" (all coordinates, exact) or "float16".
        shard_rows: examples per shard.
    """

    width: int
    dtype: str
    shard_rows: int = SHARD_ROWS

    @property
    def exact(self) -> bool:
        """Whether inner products with stored gradients are exact: nothing was left out."""
        return self.dtype == "float32"

    def description(self) -> dict[str, Any]:
        """The plan as it stands in the manifest."""
        return asdict(self)

    def size(self, examples: int, points: int) -> int:
        """Bytes that the gradients take."""
        return self.width * (4 if self.exact else 2) * examples * points


def plan_index(
    shapes: dict[str, tuple[int, ...]], examples: int, points: int, budget: int = DEFAULT_BUDGET
) -> IndexPlan:
    """Choose what to store so that ``points`` × ``examples`` rows stay within ``budget`` bytes.

    Whole gradients in float32 where they fit, else as many coordinates in float16 as fit, within reason.
    """
    whole = sum(math.prod(shape) for shape in shapes.values())
    if whole * 4 * examples * points <= budget:
        return IndexPlan(whole, "float32")
    width = min(max(budget // (2 * examples * points), SMALLEST_WIDTH), LARGEST_WIDTH, whole)
    return IndexPlan(width, "float16")
