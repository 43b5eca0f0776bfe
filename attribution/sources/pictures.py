"""Reading one picture of a user's: its header is checked before anything is unpacked, and its path stays in its folder.

What a model sees of a picture: the first frame, turned upright as its EXIF data say, with 8 bits a channel, without
transparency. That is what the usual loaders do (``convert("RGB")``, and `datasets` with EXIF), but for 16-bit greys:
those are scaled, where ``convert`` would make everything above 255 white.
"""

from __future__ import annotations

import io
import stat
import warnings
from pathlib import Path, PureWindowsPath

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from attribution.errors import ProjectError
from attribution.sources.limits import MAX_PIXELS
from attribution.sources.python_function import first_sentence

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is read. Pillow knows more, some of it through other programs."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Kind of picture by the number of channels that a model reads."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation (TIFF 6.0, tag 274)."""


def read_picture(content: bytes | Path, mode: str, name: str) -> Image.Image:
    """A picture, decoded.

    Args:
        content: an encoded picture, or its file.
        mode: one of `MODES`.
        name: how a message calls it, for example ``'table.csv' row 3``.

    Raises:
        ProjectError: not a picture, damaged, too large, or of values without a known range.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\b")  # what matters is refused, in a sentence
            source = io.BytesIO(content) if isinstance(content, bytes) else content
            with Image.open(source, formats=FORMATS) as opened:
                _check_size(*opened.size, name)
                opened.load()
                turn = _UPRIGHT.get(opened.getexif().get(ExifTags.Base.Orientation, 1))
                picture = _converted(opened, mode, name)
        return picture if turn is None else picture.transpose(turn)
    except ProjectError:
        raise
    except Image.DecompressionBombError as error:
        raise ProjectError(_too_large(name, "far")) from error
    except Exception as error:  # each of Pillow's readers has its own classes for damage
        raise ProjectError(
            f"{name} holds no readable picture ({_reason(error)}): mend or drop it."
        ) from error


def file_inside(folder: Path, given: str, name: str) -> Path:
    """The file that a relative path means, which must lie in the folder, links followed.

    Args:
        folder: where the path starts; itself free of links (`Path.resolve`).
        name: as in `read_picture`.

    Raises:
        ProjectError: absolute, leading out of the folder, missing, or no regular file.
    """
    if Path(given).is_absolute() or PureWindowsPath(given).is_absolute():
        raise ProjectError(
            f"{name} names the picture '{given}' by an absolute path: write it relative to '{folder}'."
        )
    try:
        file = (folder / given).resolve()
        status = file.stat() if file.is_relative_to(folder) else None
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # missing, a name no file can have, links in a circle
        raise ProjectError(
            f"{name} names the picture '{given}', which is not in '{folder}': put it there, or drop that row."
        ) from error
    if status is None:
        raise ProjectError(
            f"{name} names the picture '{given}', which leads out of '{folder}': copy the picture into that folder."
        )
    if not stat.S_ISREG(status.st_mode):
        raise ProjectError(
            f"{name} names '{given}', which is a folder, a pipe or a device: name a picture's file."
        )
    return file


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise ProjectError(_too_large(name, f"of {width:,} × {height:,} pixels,"))


def _too_large(name: str, how: str) -> str:
    return f"{name} holds a picture {how} beyond the limit of {MAX_PIXELS:,} pixels: make it smaller, or drop it."


def _converted(picture: Image.Image, mode: str, name: str) -> Image.Image:
    if picture.mode.startswith("I;16"):
        grey = np.asarray(picture).astype(np.float32) / 257  # 65535 becomes 255
        picture = Image.fromarray(grey.round().astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ProjectError(
            f"{name} holds a picture of 32-bit values, which may mean anything: save it with 8 or 16 bits a channel."
        )
    if picture.mode in ("P", "PA"):
        picture = picture.convert(
            "RGBA"
        )  # a palette may have transparency, which a direct conversion warns of
    return picture.copy() if picture.mode == mode else picture.convert(mode)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file"
    return first_sentence(str(error)) or type(error).__name__
