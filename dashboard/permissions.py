"""Whether this server may write projects: asked in one place by every page that offers to."""

from __future__ import annotations

import os
from pathlib import Path


def writing_refused(directory: Path) -> str | None:
    """Why nothing can be written into a directory (made first if need be), in one sentence; None where it can."""
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return f"'{place}' is a file: choose another name or folder for the project."
    if not os.access(place, os.W_OK | os.X_OK):
        return f"'{place}' cannot be written by this server: start it with --projects and a folder of yours."
    return None
