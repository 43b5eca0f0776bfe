"""Put a finished project in its place at once, so that nobody ever sees half of one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from attribution.projects.files import building as building_folder


def building(directory: Path) -> AbstractContextManager[Path]:
    """Give a temporary folder beside ``directory`` to build a sample in; on success it becomes ``directory``.

    Raises:
        ProjectError: ``directory`` already holds something, or the place cannot be written.
    """
    return building_folder(
        directory, occupied="open it as it is, or delete it first to make the sample again"
    )
