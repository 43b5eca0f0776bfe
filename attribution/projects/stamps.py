"""Has a file, or a folder of files, changed? Told by size and time where they agree, by content where they do not.

Copying or moving a project changes the times of its files but not what they hold, and must not make it stale.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict


class Stamp(TypedDict):
    """Size in bytes, time of the last change in nanoseconds, and SHA-256 of the content.

    Of a folder: the sum of its files' sizes, the latest time in it, and SHA-256 over the names and contents of its
    files, hidden ones left out.
    """

    size: int
    mtime_ns: int
    sha256: str


def stamp(path: Path) -> Stamp:
    """The stamp of a file or folder as it is now; reads all of it."""
    size, mtime_ns = _size_and_time(path)
    return {"size": size, "mtime_ns": mtime_ns, "sha256": _sha256(path)}


def unchanged(path: Path, recorded: Stamp) -> bool:
    """Whether a file or folder still holds what it held when it was stamped."""
    try:
        size, mtime_ns = _size_and_time(path)
        if size != recorded["size"]:
            return False
        return mtime_ns == recorded["mtime_ns"] or _sha256(path) == recorded["sha256"]
    except OSError:
        return False


def _size_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    if not path.is_dir():
        return status.st_size, status.st_mtime_ns
    size, newest = 0, status.st_mtime_ns
    for entry in _below(path):
        found = entry.stat()
        size += 0 if entry.is_dir() else found.st_size
        newest = max(newest, found.st_mtime_ns)
    return size, newest


def _sha256(path: Path) -> str:
    if not path.is_dir():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    files = sorted(Path(entry.path) for entry in _below(path) if not entry.is_dir())
    listed = (f"{file.relative_to(path).as_posix()}\0{_sha256(file)}\n" for file in files)
    return hashlib.sha256("".join(listed).encode("utf-8", "surrogateescape")).hexdigest()


def _below(folder: Path | os.DirEntry[str]) -> Iterator[os.DirEntry[str]]:
    """Everything in a folder and the folders in it, but what is hidden."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                yield entry
                if entry.is_dir():
                    yield from _below(entry)
