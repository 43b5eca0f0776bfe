"""Pictures of every kind come in the right shape and colours; what is unsafe or no picture is refused."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attribution.errors import ProjectError
from attribution.sources import limits, pictures
from attribution.sources.pictures import file_inside, read_picture
from tests.unit.image_files import encoded, noise

RED, GREEN, BLUE, WHITE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (128, 128, 128)
COLOURS = [[RED, GREEN, BLUE], [WHITE, GREY, RED]]


def colours() -> Image.Image:
    """Three pixels by two of plain colours."""
    return Image.fromarray(np.array(COLOURS, dtype=np.uint8))


def read(content: bytes | Path, mode: str = "RGB") -> list[list[int | list[int]]]:
    rows: list[list[int | list[int]]] = np.asarray(read_picture(content, mode, "'t.csv' row 1")).tolist()
    return rows


def seen(expected: list[list[tuple[int, int, int]]]) -> list[list[list[int]]]:
    return [[list(pixel) for pixel in row] for row in expected]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "GIF"])
def test_colours_come_back_from_every_format(kind: str, tmp_path: Path) -> None:
    content = encoded(colours(), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert read(content) == seen(COLOURS)
    (tmp_path / "picture").write_bytes(content)  # whatever it is called
    assert read(tmp_path / "picture") == seen(COLOURS)


def test_a_jpeg_comes_back_nearly() -> None:
    flat = Image.new("RGB", (16, 8), (200, 30, 90))
    found = np.asarray(read_picture(encoded(flat, "JPEG", quality=95), "RGB", ""), dtype=int)
    assert found.shape == (8, 16, 3) and abs(found - [200, 30, 90]).max() <= 4


@pytest.mark.parametrize(
    ("picture", "kind", "expected"),
    [
        (colours().quantize(8), "PNG", COLOURS),
        (colours().convert("RGBA"), "PNG", COLOURS),
        (colours().convert("CMYK"), "TIFF", COLOURS),
        (colours().convert("LA"), "PNG", [[(76,) * 3, (150,) * 3, (29,) * 3], [WHITE, GREY, (76,) * 3]]),
        (colours().convert("L"), "PNG", [[(76,) * 3, (150,) * 3, (29,) * 3], [WHITE, GREY, (76,) * 3]]),
        (Image.fromarray(np.array([[True, False]])), "PNG", [[WHITE, (0, 0, 0)]]),
        (
            Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16)),
            "PNG",
            [[(0,) * 3, (1,) * 3, GREY, WHITE]],
        ),
        (
            Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16)),
            "TIFF",
            [[(0,) * 3, (1,) * 3, GREY, WHITE]],
        ),
    ],
    ids=["P", "RGBA", "CMYK", "LA", "L", "1", "I;16 PNG", "I;16 TIFF"],
)
def test_colours_come_back_from_every_mode(
    picture: Image.Image, kind: str, expected: list[list[tuple[int, int, int]]]
) -> None:
    content = encoded(picture, kind)
    assert read(content) == seen(expected)
    grey = read(content, "L")
    for row, line in zip(grey, expected, strict=True):
        for value, (r, g, b) in zip(row, line, strict=True):
            assert value == pytest.approx(0.299 * r + 0.587 * g + 0.114 * b, abs=1.01)


def test_transparency_is_dropped_as_convert_does() -> None:
    clear = Image.fromarray(np.array([[[255, 0, 0, 0], [0, 0, 255, 128]]], dtype=np.uint8))
    assert read(encoded(clear)) == [[[255, 0, 0], [0, 0, 255]]]
    palette = clear.convert("RGB").convert("P")
    with_transparency = encoded(palette, transparency=0)
    assert read(with_transparency) == [[[255, 0, 0], [0, 0, 255]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation: int) -> None:
    """The oracle is what EXIF says of each orientation: where the first row and column of the file belong."""
    grid = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    upright = {
        1: grid,
        2: grid[:, ::-1],
        3: grid[::-1, ::-1],
        4: grid[::-1],
        5: grid.T,
        6: np.rot90(grid, -1),
        7: grid[::-1, ::-1].T,
        8: np.rot90(grid),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(grid), "PNG", exif=exif)
    assert read(content, "L") == upright.tolist()


def test_of_several_frames_the_first_is_read() -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in (RED, GREEN, BLUE)]
    for kind in ("GIF", "TIFF", "PNG"):
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert read(content) == [[list(RED)] * 4] * 3


def test_values_without_a_known_range_are_refused() -> None:
    for values in (np.array([[0.5, 1e6]], dtype=np.float32), np.array([[1, 70000]], dtype=np.int32)):
        with pytest.raises(ProjectError, match=r"row 1 holds a picture of 32-bit values.*8 or 16 bits"):
            read(encoded(Image.fromarray(values), "TIFF"))


def claiming(width: int, height: int) -> bytes:
    """A PNG file of a few bytes whose header claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100))


@pytest.mark.parametrize("size", [(8193, 8192), (9600, 9600), (30_000, 30_000), (2_000_000, 40)])
def test_a_bomb_is_refused_by_its_header(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("nothing must be decoded"))
    with pytest.raises(
        ProjectError, match=r"'t.csv' row 1 holds a picture .*67,108,864 pixels: make it smaller"
    ):
        read(claiming(*size))
    assert not recwarn.list


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no BMP, GIF, JPEG"),
        (b"hello", "no BMP, GIF, JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "no BMP, GIF, JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no BMP, GIF, JPEG"),
        (encoded(noise(1))[:-200], "truncated"),
        (encoded(noise(1, 64, 64), "JPEG")[:-800], "truncated"),
        (claiming(10, 10), ""),
    ],
    ids=["empty", "text", "PostScript", "SVG", "cut PNG", "cut JPEG", "claims more than it holds"],
)
def test_what_is_no_picture_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(
        ProjectError, match=rf"'t.csv' row 1 holds no readable picture \(.*{reason}.*\): mend"
    ):
        read(content)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of pictures, with one beside it that must not be reached."""
    (tmp_path / "data" / "deep").mkdir(parents=True)
    noise(1).save(tmp_path / "data" / "deep" / "in.png")
    noise(2).save(tmp_path / "out.png")
    return (tmp_path / "data").resolve()


def test_files_inside_are_found_however_they_are_written(data: Path) -> None:
    (data / "link.png").symlink_to(data / "deep" / "in.png")
    for given in ("deep/in.png", "./deep/in.png", "deep/../deep/in.png", "link.png"):
        assert file_inside(data, given, "") == data / "deep" / "in.png"


def fifo(data: Path) -> str:
    os.mkfifo(data / "pipe.png")
    return "pipe.png"


def linked(target: str) -> Callable[[Path], str]:
    def link(data: Path) -> str:
        (data / "link.png").symlink_to(target)
        return "link.png"

    return link


def linked_folder(data: Path) -> str:
    (data / "folder").symlink_to(data.parent)
    return "folder/out.png"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (lambda _: "../out.png", "leads out of"),
        (lambda _: "deep/../../out.png", "leads out of"),
        (lambda data: str(data / "deep" / "in.png"), "absolute path"),
        (lambda _: "C:\\pictures\\in.png", "absolute path"),
        (linked("../out.png"), "leads out of"),
        (linked("/dev/zero"), "leads out of"),
        (linked("link.png"), "not in"),
        (linked_folder, "leads out of"),
        (lambda _: "absent.png", "not in"),
        (lambda _: "in\0.png", "not in"),
        (lambda _: "n" * 5000, "not in"),
        (lambda _: "deep", "a folder, a pipe or a device"),
        (fifo, "a folder, a pipe or a device"),
        (lambda _: "https://example.org/in.png", "not in"),
    ],
    ids=[
        "..", "inner ..", "absolute", "Windows", "link out", "link to a device", "link to itself", "folder link",
        "missing", "NUL", "long", "folder", "pipe", "URL",
    ],
)  # fmt: skip
def test_paths_cannot_leave_the_folder(data: Path, given: Callable[[Path], str], reason: str) -> None:
    with pytest.raises(ProjectError, match=f"'t.csv' row 1 names .*{reason}"):
        file_inside(data, given(data), "'t.csv' row 1")


def test_limits_are_those_of_the_documentation() -> None:
    assert limits.MAX_PIXELS == 8192**2 < (Image.MAX_IMAGE_PIXELS or 0)
    assert set(pictures.FORMATS) == {"BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"}
