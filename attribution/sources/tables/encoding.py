"""Opening a text file that says nothing of its encoding. It is found out, never guessed silently.

A byte-order mark decides. Without one the file is UTF-8 if all of it is; then UTF-16, by the zero bytes of its ASCII
characters; then Windows-1252, which contains the printable part of Latin-1, and the user is told. What fits none is
refused with the number of its line: replaced characters would reach the model.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from attribution.errors import ProjectError
from attribution.sources.limits import gunzipped

_MARKS = (  # UTF-32's first: it begins like UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_SINGLE_BYTE = "cp1252"
_MOST_FOREIGN = 0.3
"""Share of letters beyond ASCII above which a text is in no Western European language: Cyrillic has nearly all."""


@dataclass(frozen=True)
class Encoding:
    """A codec, and what to tell the user of the choice; empty where it is beyond doubt."""

    codec: str
    note: str = ""


def open_bytes(file: Path) -> BinaryIO:
    """The content of a file, unpacked where it is gzipped."""
    stream = file.open("rb")
    first = stream.read(len(_GZIP))
    stream.seek(0)
    if first != _GZIP:
        return stream
    stream.close()
    return gunzipped(file)


def open_text(file: Path, encoding: Encoding, *, newline: str = "") -> io.TextIOWrapper:
    """The text of a file with its line ends as they are; lines end at ``newline``, or at any usual end."""
    return io.TextIOWrapper(open_bytes(file), encoding=encoding.codec, newline=newline)


def text_encoding(file: Path) -> Encoding:
    """The encoding of a text file; reads all of it.

    Raises:
        ProjectError: it is in none of the known encodings, with the line.
    """
    with open_bytes(file) as stream:
        beginning = stream.read(4096)
    for mark, codec in _MARKS:
        if beginning.startswith(mark):
            _check(file, codec)
            return Encoding(codec)
    wide = _without_mark(beginning)
    if wide is not None:
        _check(file, wide)
        return Encoding(wide, f"'{file}' has no byte-order mark and is read as UTF-16.")
    try:
        _check(file, "utf-8")
    except ProjectError as error:
        problem = error
    else:
        return Encoding("utf-8")
    if _mostly_utf8(file) or _foreign(file):
        raise problem
    _check(file, _SINGLE_BYTE)
    line = str(problem).partition(" line ")[2].partition(" ")[0]
    return Encoding(
        _SINGLE_BYTE,
        f"'{file}' is not UTF-8 (line {line}) and is read as Windows-1252: save it as UTF-8 if letters look wrong.",
    )


def _without_mark(beginning: bytes) -> str | None:
    """The kind of UTF-16 that a file without a mark is in, if any: text has its zero bytes on one side only."""
    pairs = len(beginning) // 2
    even, odd = beginning[0::2].count(0), beginning[1::2].count(0)
    if pairs >= 2 and odd > 0.3 * pairs and even < 0.05 * pairs:
        return "utf-16-le"
    if pairs >= 2 and even > 0.3 * pairs and odd < 0.05 * pairs:
        return "utf-16-be"
    return None


def _check(file: Path, codec: str) -> None:
    """Decode everything once.

    Raises:
        ProjectError: it cannot be decoded, with the line.
    """
    decoder = codecs.getincrementaldecoder(codec)()
    line = 1
    for chunk, last in _chunks(file):
        try:
            line += decoder.decode(chunk, last).count("\n")
        except UnicodeDecodeError as error:
            line += error.object[: error.start].decode(codec, errors="replace").count("\n")
            name = {"utf-8-sig": "UTF-8", _SINGLE_BYTE: "UTF-8 or Windows-1252"}.get(codec, codec.upper())
            byte = error.object[error.start]
            raise ProjectError(
                f"'{file}' line {line} is not {name} text (byte 0x{byte:02x}): save the file as UTF-8."
            ) from error


def _chunks(file: Path) -> Iterator[tuple[bytes, bool]]:
    """The content in pieces, each with whether it is the last."""
    with open_bytes(file) as stream:
        chunk = stream.read(_CHUNK)
        while True:
            following = stream.read(_CHUNK)
            yield chunk, not following
            if not following:
                return
            chunk = following


def _mostly_utf8(file: Path) -> bool:
    """Whether a file that is not UTF-8 holds characters that are: then a part of it is damaged."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
    good = bad = 0
    for chunk, last in _chunks(file):
        text = decoder.decode(chunk, last)
        if not text.isascii():
            beyond = [character for character in text if character > "\x7f"]
            escaped = sum("\udc80" <= character <= "\udcff" for character in beyond)
            bad += escaped
            good += len(beyond) - escaped
    return good > bad


def _foreign(file: Path) -> bool:
    """Whether most letters are beyond ASCII, which no language does that Windows-1252 is for."""
    letters = beyond = 0
    for chunk, _ in _chunks(file):
        high = sum(byte > 0x7F for byte in chunk)
        beyond += high
        letters += high + sum(byte < 0x80 and chr(byte).isalpha() for byte in chunk)
    return beyond > _MOST_FOREIGN * letters
