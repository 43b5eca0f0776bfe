"""What may be chosen about a fix, and what it is unless somebody chooses: for Python, command line and page alike.

Light: no torch, no numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attribution.errors import NotFoundError

if TYPE_CHECKING:
    from attribution.projects import Edit

STRATEGIES = {
    "helpers": "trains a little more on the helpers of the true class",
    "relabel": "trains a little on the culprits, relabelled to the true class",
    "unlearn": "takes the culprits back: a little ascent on their loss, up to a cap",
    "remove": "trains on a little without the culprits",
    "suggest": "tries sets of culprits relabelled and of helpers, and takes the smallest with the least harm",
    "test": "trains on the test example itself: a control, the most that fine-tuning can do",
}
"""What each strategy does, by name."""


UNLEARNING_CAP = 2.0
"""Ascent ends at this multiple of a uniform guess's loss: at a probability of C^-2 for the label, of C classes.

Measured on digits over 39 mispredictions: at 1, culprits that the model half believes already (many label errors) are
left alone, and 62 % of the mispredictions are fixed, 18 other predictions broken each; at 2, 85 % and 14; at 4, 87 %
and 21.
"""


@dataclass(frozen=True)
class FixSettings:
    """How a fix is made.

    Args:
        strategy: which training examples to take where none are given, and what to do with them (`STRATEGIES`).
        top: how many of them.
        steps: fine-tuning steps at most.
        seed: of everything random.
        guard: stop before more than this many other test predictions would break; None for no limit.
    """

    strategy: str = "helpers"
    top: int = 10
    steps: int = 50
    seed: int = 0
    guard: int | None = None


def check_strategy(name: str) -> None:
    """Raise `NotFoundError` unless the strategy exists."""
    if name not in STRATEGIES:
        raise NotFoundError(f"There is no strategy '{name}': the strategies are {', '.join(STRATEGIES)}.")


def strategy_of(edits: Sequence[Edit], preferred: str) -> str:
    """The strategy that edits amount to: they say what is done, ``preferred`` only how examples are taken out.

    Removed examples are unlearned if that is preferred, and else left out of continued training (``remove``).
    """
    actions = {edit.action for edit in edits}
    if "remove" in actions:
        return "unlearn" if preferred == "unlearn" else "remove"
    return "relabel" if "relabel" in actions else "helpers"
