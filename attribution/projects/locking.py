"""One process at a time prepares a project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from attribution.errors import ProjectError
from attribution.progress import Reporter
from attribution.projects.access import refusal


@contextmanager
def exclusive(directory: Path, reporter: Reporter) -> Iterator[None]:
    """Hold the project's lock within the block; whoever waits for it stays cancellable.

    Whoever may change nothing needs no lock and takes none, which would write its file: what is stored they read, and
    whatever would write refuses by itself.

    Raises:
        ProjectError: the folder cannot be written.
        Cancelled: the user asked for a stop while waiting.
    """
    if refusal() is not None:
        yield
        return
    lock = FileLock(directory / ".prepare.lock")
    while True:
        try:
            lock.acquire(timeout=0.5)
            break
        except Timeout:
            reporter(0.0, "Waiting: another process is preparing this project")
        except OSError as error:
            raise ProjectError(
                f"Cannot write to '{directory}' ({error.strerror or error}): make the folder writable, or copy the "
                "project elsewhere."
            ) from error
    try:
        yield
    finally:
        lock.release()
