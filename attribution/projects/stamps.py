"""Has a file changed? Told by size and time where they agree, by content where they do not.

Copying or moving a project changes the times of its files but not what they hold, and must not make it stale.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypedDict


class Stamp(TypedDict):
    """Size in bytes, time of the last change in nanoseconds, and SHA-256 of the content."""

    size: int
    mtime_ns: int
    sha256: str


def stamp(file: Path) -> Stamp:
    """The stamp of a file as it is now; reads it whole."""
    status = file.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": _sha256(file)}


def unchanged(file: Path, recorded: Stamp) -> bool:
    """Whether a file still holds what it held when it was stamped."""
    try:
        status = file.stat()
        if status.st_size != recorded["size"]:
            return False
        return status.st_mtime_ns == recorded["mtime_ns"] or _sha256(file) == recorded["sha256"]
    except OSError:
        return False


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
