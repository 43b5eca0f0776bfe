"""Timing that a busy machine disturbs little: the median of a few runs, in seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

REPEATS = 5
BUDGET = 10.0
"""Seconds after which no further repeat is started."""


def timed(function: Callable[[], Result]) -> tuple[Result, float]:
    """The result of the last run, and the median duration of up to five runs."""
    durations: list[float] = []
    while True:
        started = time.perf_counter()
        result = function()
        durations.append(time.perf_counter() - started)
        if len(durations) == REPEATS or sum(durations) > BUDGET:
            return result, statistics.median(durations)
