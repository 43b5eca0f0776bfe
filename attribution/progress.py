"""Progress reports and cancellation, passed to everything that takes longer than a blink.

The engine never prints: it calls ``progress(fraction, message)``; a terminal, a page or a test decides what to show.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from attribution.errors import Cancelled

Item = TypeVar("Item")

ProgressCallback = Callable[[float, str], None]
"""Called as ``progress(fraction, message)`` with a fraction in [0, 1]."""


class CancelToken:
    """A flag that one thread sets and a worker polls between batches."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise `Cancelled` if somebody asked for a stop."""
        if self._event.is_set():
            raise Cancelled("Cancelled: nothing was changed; run the same command again to continue.")


class Reporter:
    """A progress callback and a cancellation token as one object, divisible into the shares of sub-tasks."""

    def __init__(
        self,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        *,
        start: float = 0.0,
        end: float = 1.0,
    ) -> None:
        self._progress = progress
        self._cancel = cancel
        self._start = start
        self._end = end

    def __call__(self, fraction: float, message: str) -> None:
        """Report ``fraction`` of this reporter's share; raises `Cancelled` when a stop was asked for."""
        if self._cancel is not None:
            self._cancel.check()
        if self._progress is not None:
            clipped = min(max(fraction, 0.0), 1.0)
            self._progress(self._start + (self._end - self._start) * clipped, message)

    def share(self, start: float, end: float) -> Reporter:
        """A reporter whose 0..1 is ``start``..``end`` of this one."""
        width = self._end - self._start
        return Reporter(
            self._progress, self._cancel, start=self._start + width * start, end=self._start + width * end
        )

    def silent(self) -> Reporter:
        """A reporter that says nothing, and still raises `Cancelled` when a stop was asked for."""
        return Reporter(None, self._cancel)

    def track(self, items: Iterable[Item], total: int, message: str) -> Iterator[Item]:
        """Yield the items, reporting before each one and once at the end."""
        for position, item in enumerate(items):
            self(position / max(total, 1), message)
            yield item
        self(1.0, message)


SILENT = Reporter()
