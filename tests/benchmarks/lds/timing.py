"""Timing on a busy machine: the median of a few runs, in seconds of processor time."""

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
    """The result of the last run, and the median duration of up to five runs.

    Processor time of the whole process: everything runs on one thread, and what other processes do at the same time
    then counts little.
    """
    durations: list[float] = []
    while True:
        started = time.process_time()
        result = function()
        durations.append(time.process_time() - started)
        if len(durations) == REPEATS or sum(durations) > BUDGET:
            return result, statistics.median(durations)
