"""What the command line writes: progress on stderr, results on stdout, errors as one line."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from attribution.errors import NumericalError
from attribution.progress import CancelToken, ProgressCallback, Reporter
from dashboard.views.inert import visible

PIPE_WIDTH = 160
"""Columns of a table that goes into a file or a pipe."""

LINE_INTERVAL = 5.0
"""Seconds between two progress lines that differ in numbers only, where there is no terminal."""

INPUT_WIDTH = 70
"""Characters of an input that a table shows."""


@contextmanager
def working() -> Iterator[Reporter]:
    """A reporter for long work: progress on stderr, Ctrl-C cancels, what libraries print stays off stdout.

    Raises:
        Cancelled: Ctrl-C was pressed while the work went on.
    """
    token = CancelToken()
    with _library_output_on_stderr(), _interrupt_cancels(token), _progress_display() as show:
        yield Reporter(show, token)
        token.check()


def print_json(document: Any) -> None:
    """Write one JSON document to stdout.

    Raises:
        NumericalError: a number is NaN or infinite, which JSON cannot say.
    """
    try:
        text = json.dumps(document, allow_nan=False, default=_plain, indent=2)
    except ValueError as error:
        raise NumericalError(
            "The result holds a number that is not finite: try another method, or prepare the project again "
            "with --precision fp32."
        ) from error
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """Write a sentence to stdout; nothing in it is read as markup, or can steer the terminal."""
    _output().print(visible(text), markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    wrapped: Sequence[str] = (),
) -> None:
    """Write a table to stdout.

    ``right`` names the columns aligned to the right, ``wrapped`` those that may take several lines beside the last.
    """
    table = Table(title=Text(visible(title), style="bold"), title_justify="left", header_style="bold")
    for column in columns:
        folded = column == columns[-1] or column in wrapped
        table.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=not folded,
            overflow="fold" if folded else "ellipsis",
        )
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    _output().print(table)


def print_error(message: str, kind: str = "Error") -> None:
    """Write one line to stderr."""
    line = Text.assemble((f"{kind}: ", "bold red"), visible(" ".join(message.split())))
    Console(stderr=True).print(line, soft_wrap=True, highlight=False)


def shown(value: str) -> str:
    """An input as a table cell: the beginning of a text, a word for a picture."""
    if value.startswith("data:image/"):
        return "(picture)"
    line = " ".join(value.split())
    return line if len(line) <= INPUT_WIDTH else line[: INPUT_WIDTH - 1] + "…"


def _plain(value: Any) -> Any:
    """numpy scalars and arrays as plain Python values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _output() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=int(os.environ.get("COLUMNS") or PIPE_WIDTH))


@contextmanager
def _library_output_on_stderr() -> Iterator[None]:
    """Send everything written to stdout meanwhile, from Python or below it, to stderr."""
    sys.stdout.flush()
    saved_descriptor, saved_stream = os.dup(1), sys.stdout
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout = saved_stream
        os.dup2(saved_descriptor, 1)
        os.close(saved_descriptor)


@contextmanager
def _interrupt_cancels(token: CancelToken) -> Iterator[None]:
    """The first Ctrl-C asks the work to stop where nothing is lost, the second stops it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        if token.cancelled:
            raise KeyboardInterrupt
        token.cancel()
        # Not print: a signal may arrive in the middle of another write to the same stream.
        os.write(2, b"\nStopping after the current step; Ctrl-C again stops at once.\n")

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _progress_display() -> Iterator[ProgressCallback]:
    console = Console(stderr=True)
    display = _Bar(console) if console.is_terminal else _Lines()
    try:
        yield display
    finally:
        display.close()


class _Bar:
    """A progress bar that appears with the first report and leaves nothing behind."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,
        )
        self._task = self._progress.add_task("", total=1.0)
        self._started = False

    def __call__(self, fraction: float, message: str) -> None:
        if not self._started:
            self._progress.start()
            self._started = True
        self._progress.update(self._task, completed=fraction, description=visible(message))

    def close(self) -> None:
        if self._started:
            self._progress.stop()


class _Lines:
    """A line for every new message, and one now and then while it stays the same."""

    def __init__(self) -> None:
        self._kind = ""
        self._started = time.monotonic()
        self._written = 0.0

    def __call__(self, fraction: float, message: str) -> None:
        now = time.monotonic()
        kind = re.sub(r"\d[\d,.]*", "#", message)
        if kind == self._kind and now - self._written < LINE_INTERVAL:
            return
        left = (now - self._started) * (1 - fraction) / fraction if fraction > 0.05 else 0.0
        remaining = f", about {left:.0f} s left" if left >= 5 else ""
        sys.stderr.write(f"{visible(message)} ({fraction:.0%}{remaining})\n")
        sys.stderr.flush()
        self._kind, self._written = kind, now

    def close(self) -> None:
        """Nothing to take down."""
