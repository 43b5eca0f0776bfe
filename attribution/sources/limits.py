"""How much of a user's data is read at most, so that a small file cannot fill the memory or the disk."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import BinaryIO, cast

from attribution.errors import ProjectError

MAX_PIXELS = 8192 * 8192
"""Of one picture: its header is believed no further. Decoded as RGB this is 192 MiB."""

PIXELS_IN_MEMORY = 512 * 2**20
"""Bytes of processed pictures of a split that are kept; of a larger split each picture is read again for each use."""

FREELY_DECOMPRESSED = 256 * 2**20
"""Bytes that a compressed table may always hold, whatever its own size."""

MAX_COMPRESSION = 100
"""How many times its own size a table beyond that may hold: text packs to a tenth or a thirtieth, a bomb to a
thousandth."""


def gunzipped(file: Path) -> BinaryIO:
    """The content of a gzipped table, unpacked as it is read.

    Raises:
        OSError: it cannot be opened; reading it may raise that, too, or EOFError, where it is damaged.
        ProjectError: on reading, where it holds far more than its own size makes credible.
    """
    allowed = max(FREELY_DECOMPRESSED, MAX_COMPRESSION * file.stat().st_size)
    return cast(BinaryIO, io.BufferedReader(_Limited(file, allowed), buffer_size=2**20))


class _Limited(io.RawIOBase):
    """A gzip file that refuses to become longer than ``allowed`` bytes."""

    def __init__(self, file: Path, allowed: int) -> None:
        self._file = file
        self._left = allowed
        self._stream = gzip.open(file, "rb")  # noqa: SIM115 - closed below

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count: int = self._stream.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise ProjectError(
                f"'{self._file}' unpacks to more than {MAX_COMPRESSION} times its size, which is no table but a "
                "decompression bomb: check where it comes from, or unpack it yourself."
            )
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()
