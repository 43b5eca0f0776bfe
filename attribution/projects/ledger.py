"""A ledger of generated files with their checksums: what is complete, what is damaged, what it was made from.

A file enters the ledger when it is whole and in its place. Work that was killed goes on with the first file that the
ledger lacks, and a byte that changed on disk is noticed when the file is first read.
"""

from __future__ import annotations

import json
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attribution.errors import ProjectError
from attribution.projects.access import check_may_change
from attribution.projects.files import write_text

FORMAT = 2
LEDGER = "ledger.json"


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and CRC-32 of a file as it was written."""

    size: int
    crc32: int


class Ledger:
    """What a folder of generated files was made from, and the files that are complete.

    Args:
        directory: the folder.
        arguments: all that the content depends on (data and model fingerprint, versions, widths, seeds).
        files: by path relative to the directory.
    """

    def __init__(self, directory: Path, arguments: dict[str, Any], files: dict[str, FileRecord]) -> None:
        self.directory = directory
        self.arguments = arguments
        self.files = files
        self._verified: set[str] = set()

    @classmethod
    def read(cls, directory: Path) -> Ledger:
        """The ledger of a folder.

        Raises:
            ProjectError: it is missing, damaged or of another version.
        """
        try:
            stored = json.loads((directory / LEDGER).read_text(encoding="utf-8"))
            if stored["format"] != FORMAT:
                raise ValueError(f"format {stored['format']}")
            files = {name: FileRecord(f["size"], f["crc32"]) for name, f in stored["files"].items()}
            return cls(directory, stored["arguments"], files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProjectError(
                f"'{directory / LEDGER}' is missing or damaged ({error}): run tracefix prepare to make it again."
            ) from error

    @classmethod
    def made_from(cls, directory: Path, arguments: dict[str, Any]) -> bool:
        """Whether what lies in a folder was made from these arguments."""
        try:
            return cls.read(directory).arguments == arguments
        except ProjectError:
            return False

    @classmethod
    def resumed(cls, directory: Path, arguments: dict[str, Any]) -> Ledger:
        """The ledger to go on with: what was made from the same and is intact, else nothing.

        Raises:
            ProjectError: the folder cannot be written.
        """
        if cls.made_from(directory, arguments):
            ledger = cls.read(directory)
            if not ledger.drop_damaged():
                return ledger
        else:
            check_may_change(f"make '{directory.name}' anew")
            try:
                if directory.exists():
                    shutil.rmtree(directory)
            except OSError as error:
                raise ProjectError(
                    f"'{directory}' cannot be replaced ({error.strerror or error}): make the folder writable, or "
                    "delete it yourself."
                ) from error
            ledger = cls(directory, arguments, {})
        ledger.write()
        return ledger

    def write(self) -> None:
        """Write the ledger atomically."""
        files = {name: {"size": f.size, "crc32": f.crc32} for name, f in sorted(self.files.items())}
        stored = {"format": FORMAT, "arguments": self.arguments, "files": files}
        write_text(self.directory / LEDGER, json.dumps(stored, indent=1) + "\n")

    def reload(self) -> None:
        """See what other processes have added.

        Raises:
            ProjectError: the ledger is missing or damaged, or another process made the folder anew from something else.
        """
        stored = Ledger.read(self.directory)
        if stored.arguments != self.arguments:
            raise ProjectError(
                f"'{self.directory}' was made anew from other weights or data meanwhile: open the project again."
            )
        self.files |= stored.files

    def add(self, name: str) -> None:
        """Enter a complete file."""
        content = (self.directory / name).read_bytes()
        self.files[name] = FileRecord(len(content), zlib.crc32(content))
        self._verified.add(name)
        self.write()

    def drop_damaged(self) -> list[str]:
        """Forget the files that are missing or whose checksum is wrong; their names."""
        damaged = []
        for name in list(self.files):
            try:
                self.verified(name)
            except ProjectError:
                damaged.append(name)
                del self.files[name]
        return damaged

    def verified(self, name: str) -> Path:
        """Path of a file, checked against its record when it is first asked for.

        Raises:
            ProjectError: it is missing or its content has changed.
        """
        file = self.directory / name
        if name not in self._verified:
            try:
                content = file.read_bytes()
                intact = self.files[name] == FileRecord(len(content), zlib.crc32(content))
            except (OSError, KeyError):
                intact = False
            if not intact:
                raise ProjectError(
                    f"'{file}' is missing or damaged (its checksum does not match): delete it and run tracefix "
                    "prepare, which makes it again."
                )
            self._verified.add(name)
        return file
