"""Examples as a report shows them: pictures small enough to mail, texts cut short. All of it inert."""

from __future__ import annotations

import base64
import io

from PIL import Image

from dashboard.report.escaping import escape

EDGE = 160
"""Longest edge of a picture, in pixels; smaller ones are kept as they are."""

SMALL_FILE = 6_000
"""Bytes up to which a picture is kept as it is."""

LONGEST_TEXT = 400
"""Characters of a text that are shown."""

_PREFIX = "data:image/png;base64,"


def shown(kind: str, value: str, name: str, *, large: bool = False) -> str:
    """HTML of an example's input as `Project` gives it: a picture's data URI, a text, or a few numbers.

    Args:
        name: what the picture is called where it cannot be seen.
    """
    size = "large" if large else ""
    if kind == "image" and value.startswith(_PREFIX):
        data, width = _thumbnail(base64.b64decode(value.removeprefix(_PREFIX)))
        crisp = "crisp" if width <= 64 else ""  # a few pixels, enlarged: their edges are what there is to see
        return f'<img class="picture {size} {crisp}" src="{data}" alt="{escape(name)}">'
    text = " ".join(value.split())
    cut = text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
    return f'<blockquote class="text {size}" dir="auto">{escape(cut)}</blockquote>'


def _thumbnail(content: bytes) -> tuple[str, int]:
    """A data URI and the width in pixels of the picture or of a smaller version of it."""
    with Image.open(io.BytesIO(content)) as picture:
        if max(picture.size) <= EDGE and len(content) <= SMALL_FILE:
            return _PREFIX + base64.b64encode(content).decode(), picture.width
        small = picture.convert("RGBA" if "A" in picture.getbands() else "RGB")
        small.thumbnail((EDGE, EDGE))
        buffer = io.BytesIO()
        small.save(buffer, format="WEBP", quality=85)
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode(), small.width
