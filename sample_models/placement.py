"""Put a finished project in its place at once, so that nobody ever sees half of one."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attribution.errors import ProjectError


@contextmanager
def building(directory: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``directory`` to build in; on success it becomes ``directory``.

    On any error, a cancellation included, the folder is removed and ``directory`` is as it was before.

    Raises:
        ProjectError: ``directory`` already holds something, or the place cannot be written.
    """
    directory = directory.absolute()
    _refuse_occupied(directory)
    temporary = directory.with_name(f".{directory.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _refuse_occupied(directory)
        if directory.exists():
            directory.rmdir()
        temporary.rename(directory)
    except OSError as error:
        raise ProjectError(
            f"Cannot write '{directory}' ({error.strerror or error}): make the folder writable, free some "
            "space, or choose another place with --projects."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _refuse_occupied(directory: Path) -> None:
    if directory.is_symlink() or directory.is_file() or (directory.is_dir() and any(directory.iterdir())):
        raise ProjectError(
            f"'{directory}' already exists: open it as it is, or delete it first to make the sample again."
        )
