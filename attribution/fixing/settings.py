"""What may be chosen about a fix, and what it is unless somebody chooses: for Python, command line and page alike.

Light: no torch, no numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

from attribution.errors import NotFoundError

STRATEGIES = {
    "helpers": "trains a little more on the helpers of the true class",
    "relabel": "trains a little on the culprits, relabelled to the true class",
}
"""What each strategy does, by name."""


@dataclass(frozen=True)
class FixSettings:
    """How a fix is made.

    Args:
        strategy: which training examples to take where none are given, and what to do with them (`STRATEGIES`).
        top: how many of them.
        steps: fine-tuning steps at most.
        seed: of everything random.
    """

    strategy: str = "helpers"
    top: int = 10
    steps: int = 50
    seed: int = 0


def check_strategy(name: str) -> None:
    """Raise `NotFoundError` unless the strategy exists."""
    if name not in STRATEGIES:
        raise NotFoundError(f"There is no strategy '{name}': the strategies are {', '.join(STRATEGIES)}.")
