"""Writing files so that a crash leaves the old version or the new one, never half of either."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attribution.errors import ProjectError
from attribution.projects.access import check_may_change


def expanded(path: str | Path) -> Path:
    """A path with ``~`` at its beginning replaced by the home directory it stands for, where there is one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user: then it is a name like any other
        return Path(path)


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have (too long, say) names none, and is no failure."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; as `is_file`."""
    try:
        return path.is_dir()
    except OSError:
        return False


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary path beside ``target`` to write to; on success it takes the target's place.

    Raises:
        ProjectError: the folder cannot be written.
        ReadOnlyError: whoever asks may change nothing.
    """
    check_may_change(f"write '{target.name}'")
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise ProjectError(
            f"Cannot write '{target}' ({error.strerror or error}): make the folder writable, free some space, "
            "or choose another place with --projects."
        ) from error
    finally:
        temporary.unlink(missing_ok=True) if temporary.exists() else None


def write_text(target: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def building(directory: Path, *, occupied: str) -> Iterator[Path]:
    """Give a temporary folder beside ``directory`` to fill; on success it becomes ``directory``, whole.

    On any error, a cancellation included, the folder is removed and ``directory`` is as it was before.

    Args:
        occupied: what to do where ``directory`` already holds something, for the message.

    Raises:
        ProjectError: ``directory`` already holds something, or the place cannot be written.
        ReadOnlyError: whoever asks may change nothing.
    """
    check_may_change(f"make '{directory.name}'")
    directory = directory.absolute()
    _refuse_occupied(directory, occupied)
    temporary = directory.with_name(f".{directory.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _refuse_occupied(directory, occupied)
        if directory.exists():
            directory.rmdir()
        temporary.rename(directory)
    except OSError as error:
        raise ProjectError(
            f"Cannot write '{directory}' ({error.strerror or error}): make the folder writable, free some "
            "space, or choose another place."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _refuse_occupied(directory: Path, occupied: str) -> None:
    if directory.is_symlink() or directory.is_file() or (directory.is_dir() and any(directory.iterdir())):
        raise ProjectError(f"'{directory}' already exists: {occupied}.")
