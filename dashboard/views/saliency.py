"""What the model looked at, as the components draw it: marked words, tinted pixels, or bars of numbers."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attribution.saliency.frame import WHOLE
from dashboard.views.measurements import TRUE_CLASS, WRONG_CLASS, directions, measurement_title

if TYPE_CHECKING:
    from attribution.saliency import Saliency

LISTED = 8
"""Numbers that get a bar, and words that screen readers hear: the strongest."""

INCOMPLETE = 0.1
"""Share of the parts that may be missing before it is said."""

FAINT = 0.06
"""Strength of a pixel below which it is not tinted."""

CUT = 0.03
"""Share of a picture's edge whose loss is said."""

LONGEST_EDGE = 256
"""Pixels of the masks: larger pictures are looked at in less detail than they are shown."""

WAITING: dict[str, Any] = {"kind": "waiting", "note": "Finding what the model looked at …"}

ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


def unavailable(reason: str) -> dict[str, Any]:
    """Nothing to draw, and why."""
    return {"kind": "none", "note": reason}


def looked_at(saliency: Saliency, text: str, example: dict[str, Any]) -> dict[str, Any]:
    """What a component draws over an example.

    Args:
        text: the example as shown, if it is a text.
        example: the test example whose measurement it is (`Project.example`).
    """
    up, down = directions(example, saliency.measurement)
    drawn: dict[str, Any] = {"kind": saliency.kind, "up": up, "down": down, "note": _note(saliency)}
    drawn |= {"up_brief": up.removesuffix(WRONG_CLASS), "down_brief": down.removesuffix(TRUE_CLASS)}
    if saliency.kind == "words":
        drawn |= {"pieces": _pieces(saliency, text, up, down)}
        drawn |= {"unseen": "" if saliency.seen is None else text[saliency.seen :]}
        names = [text[start:end] for start, end in saliency.spans]
        drawn["summary"] = _strongest(saliency.parts, names, up, down)
    elif saliency.kind == "pixels":
        strengths = saliency.strengths
        drawn |= {"up_mask": _mask(strengths, saliency), "down_mask": _mask(-strengths, saliency)}
        names, parts = _regions(saliency.parts)
        drawn["summary"] = _strongest(parts, names, up, down)
    else:
        drawn["numbers"] = _numbers(saliency)
        names = [f"number {place + 1}" for place in range(len(saliency.parts))]
        drawn["summary"] = _strongest(saliency.parts, names, up, down)
    return drawn


def _note(saliency: Saliency) -> str:
    name = measurement_title(saliency.measurement)
    words = (
        f"The {name} is {signed(saliency.value)} here and {signed(saliency.neutral_value)} for {saliency.neutral}; "
        "the marked parts add up to the difference."
    )
    top, left, bottom, right = saliency.frame
    if max(top, left) > CUT or min(bottom, right) < 1 - CUT:
        words += " Of the picture, the model reads the middle."
    if abs(saliency.error) > INCOMPLETE:
        words += f" They miss {abs(saliency.error):.0%} of it: take them with care."
    return words


def _pieces(saliency: Saliency, text: str, up: str, down: str) -> list[dict[str, Any]]:
    """The text that the model reads, cut at its words; those carry their strength and a number to hover."""
    pieces: list[dict[str, Any]] = []
    place = 0
    for (start, end), part, strength in zip(saliency.spans, saliency.parts, saliency.strengths, strict=True):
        if start > place:
            pieces.append({"text": text[place:start]})
        title = f"{signed(part)}: {up if part >= 0 else down}"
        pieces.append({"text": text[start:end], "strength": round(float(strength), 3), "title": title})
        place = end
    if saliency.seen is None:
        pieces.append({"text": text[place:]})
    return pieces


def _strongest(parts: NDArray[np.float64], names: list[str], up: str, down: str) -> str:
    """The strongest parts of either sign in words."""
    sentences = []
    for sign, way in ((1, up), (-1, down)):
        order = [
            place for place in np.argsort(-sign * parts, kind="stable")[:LISTED] if sign * parts[place] > 0
        ]
        if order:
            named = ", ".join(f"{names[place]} {signed(parts[place])}" for place in order)
            sentences.append(f"{way[:1].upper()}{way[1:]}, strongest first: {named}.")
    return "What the model looked at. " + (" ".join(sentences) or "Nothing made a difference.")


def _regions(pixels: NDArray[np.float64]) -> tuple[list[str], NDArray[np.float64]]:
    """Names and sums of the nine parts of a picture."""
    names, sums = [], []
    for row, rows in zip(ROWS, np.array_split(pixels, 3, axis=0), strict=True):
        for column, cells in zip(COLUMNS, np.array_split(rows, 3, axis=1), strict=True):
            names.append(f"{row} {column}")
            sums.append(float(cells.sum()))
    return names, np.array(sums)


def _numbers(saliency: Saliency) -> list[dict[str, Any]]:
    assert saliency.numbers is not None
    order = np.argsort(-np.abs(saliency.parts), kind="stable")[:LISTED]
    return [
        {
            "name": f"number {place + 1}",
            "value": f"{saliency.numbers[place]:.3g}",
            "part": signed(saliency.parts[place]),
            "strength": round(float(saliency.strengths[place]), 3),
        }
        for place in order.tolist()
    ]


def _mask(strengths: NDArray[np.float64], saliency: Saliency) -> str:
    """The positive strengths (H, W) as the opacity of a PNG (a data URI) that covers the whole picture.

    The colour is left to the page's theme.
    """
    opacity = np.clip(strengths, 0.0, 1.0)
    opacity = np.where(opacity < FAINT, 0.0, 0.9 * opacity**0.75)
    image = Image.fromarray((255 * opacity).astype(np.uint8))
    image.thumbnail((LONGEST_EDGE, LONGEST_EDGE))
    height, width = saliency.picture or saliency.parts.shape
    top, left, bottom, right = saliency.frame
    squeezed = height * (bottom - top) * image.width != width * (right - left) * image.height
    if squeezed or saliency.frame != WHOLE:
        scale = max(image.width / (width * (right - left)), image.height / (height * (bottom - top)))
        size = _pixels(width * (right - left) * scale), _pixels(height * (bottom - top) * scale)
        whole = Image.new("L", (_pixels(width * scale), _pixels(height * scale)))
        whole.paste(image.resize(size, Image.Resampling.NEAREST), _corner(whole.size, left, top))
        image = whole
    layered = Image.merge("LA", (Image.new("L", image.size), image))
    buffer = io.BytesIO()
    layered.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _pixels(length: float) -> int:
    return max(1, round(length))


def _corner(size: tuple[int, int], left: float, top: float) -> tuple[int, int]:
    return round(left * size[0]), round(top * size[1])


def signed(value: float) -> str:
    """A number with its sign, to three significant digits."""
    return f"{value:+#.3g}".removesuffix(".").replace("-", "\u2212")
