"""What a directory holds, to see that nothing was changed."""

from __future__ import annotations

import hashlib
from pathlib import Path


def contents(directory: Path) -> dict[str, str]:
    """SHA-256 of each file below a directory by its relative path; folders have an empty one."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else ""
        for path in sorted(directory.rglob("*"))
    }
