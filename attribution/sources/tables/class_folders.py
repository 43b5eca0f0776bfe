"""A folder of pictures with one sub-folder for each class, as torchvision's ImageFolder and `datasets` read it.

    train/cat/tabby.png     a picture of class 'cat', with the id 'cat/tabby.png'
    train/cat/2023/a.png    deeper folders belong to the class at the top
    train/README.md         beside the class folders there may be anything but pictures
    train/.DS_Store         hidden files and folders are none of it

As a table it has the columns ``image`` (paths), ``label`` (names of the class folders) and ``id`` (the paths again).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from attribution.errors import ProjectError
from attribution.sources.tables.labels import LabelColumn
from attribution.sources.tables.table import BATCH_ROWS, Columns, Table

IMAGE, LABEL, ID = "image", "label", "id"

_NOBODY_S = {"thumbs.db", "desktop.ini", "__macosx"}
"""What Windows and macOS leave lying about, hidden there."""

_EXTENSIONS = {"bmp", "gif", "jpe", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp"}
"""Of pictures: a file with one of these beside the class folders has lost its class."""


class ClassFolders(Table):
    """The files of a folder of class sub-folders, in the order of their paths; none of them is opened.

    Raises:
        ProjectError: the folder cannot be read, has no class sub-folders, or one without files.
    """

    own_ids = ID

    def __init__(self, folder: Path) -> None:
        self.file = folder
        self.columns = [IMAGE, LABEL, ID]
        self.notes = []
        self._paths: list[str] = []
        self._labels: list[str] = []
        try:
            for entry in _visible(folder):
                self._take(entry)
        except OSError as error:
            raise ProjectError(
                f"'{error.filename or folder}' cannot be read ({error.strerror or error}): check its permissions."
            ) from error
        if not self._paths:
            raise ProjectError(
                f"'{folder}' is neither a folder of pictures, as it has no class sub-folders, nor a dataset saved with "
                "save_to_disk: make a sub-folder for each class, called as the model calls it."
            )

    def _take(self, entry: os.DirEntry[str]) -> None:
        if not entry.is_dir():
            if entry.name.rpartition(".")[2].lower() in _EXTENSIONS:
                raise ProjectError(
                    f"'{_shown(entry.path)}' is in no class folder: move it into the sub-folder of its class."
                )
            return
        home = os.path.realpath(self.file)
        _check_link(entry, home)
        found = list(_files_below(entry, f"{entry.name}/", home, {home}))
        if not found:
            raise ProjectError(
                f"The class folder '{_shown(entry.path)}' holds no pictures: fill or remove it."
            )
        for path in found:
            if not path.isprintable():  # as an id it could neither be typed nor stored
                raise ProjectError(
                    f"'{_shown(f'{self.file}/{path}')}' has a name with characters that cannot be printed: rename it."
                )
        self._paths += found
        self._labels += [entry.name] * len(found)

    def count(self) -> int:
        return len(self._paths)

    def batches(self, names: Sequence[str] | None = None, size: int = BATCH_ROWS) -> Iterator[Columns]:
        columns = {IMAGE: self._paths, LABEL: self._labels, ID: self._paths}
        wanted = self.columns if names is None else names
        for start in range(0, len(self._paths), size):
            yield {name: list(columns[name][start : start + size]) for name in wanted}


class FolderLabels(LabelColumn):
    """Names of class folders: messages name the folder."""

    correction = "rename the folder or move it elsewhere"

    def described(self, code: int) -> str:
        folder = self.file / self.values[code]
        return f"The class folder '{folder}' is called '{self.values[code]}'"


def _check_link(entry: os.DirEntry[str], home: str) -> None:
    """Refuse what leads out of the folder."""
    if entry.is_symlink() and not Path(os.path.realpath(entry)).is_relative_to(home):
        raise ProjectError(
            f"'{_shown(entry.path)}' is a link that leads out of '{home}': put what it stands for there instead."
        )


def _files_below(folder: os.DirEntry[str], prefix: str, home: str, above: set[str]) -> Iterator[str]:
    """Paths of the files in a folder and the folders in it; ``above`` are those it lies in, links followed."""
    real = os.path.realpath(folder)
    if real in above:
        raise ProjectError(f"'{_shown(folder.path)}' links to a folder that it lies in: remove that link.")
    for entry in _visible(folder):
        _check_link(entry, home)
        if entry.is_dir():
            yield from _files_below(entry, f"{prefix}{entry.name}/", home, {*above, real})
        elif entry.is_file():
            yield f"{prefix}{entry.name}"
        else:
            raise ProjectError(
                f"'{_shown(entry.path)}' is a pipe, a device or a link to nothing, and no picture: remove it."
            )


def _visible(folder: os.DirEntry[str] | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        shown = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in _NOBODY_S]
    return sorted(shown, key=lambda entry: entry.name)


def _shown(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()
