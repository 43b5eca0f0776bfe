"""Pictures small enough to send many of them along with a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import streamlit as st
from PIL import Image

from dashboard.current import Opened

EDGE = 72
"""Longest edge in pixels; smaller pictures are sent as they are."""

SMALL_FILE = 4000
"""Bytes up to which a picture is sent as it is."""

MOST = 400
"""Pictures that are sent at most."""


def thumbnails(opened: Opened, split: str, ids: Sequence[str]) -> dict[str, str]:
    """Data URIs by id, of the first `MOST` examples; none where examples are no pictures."""
    if opened.project.kind != "image":
        return {}
    return _thumbnails((*opened.key, split), tuple(ids[:MOST]), opened)


@st.cache_resource(max_entries=32, show_spinner=False)
def _thumbnails(key: tuple[str, ...], ids: tuple[str, ...], _opened: Opened) -> dict[str, str]:
    pictures = _opened.project.examples(key[-1])["image"].loc[list(ids)]
    return {name: _uri(content) for name, content in zip(ids, pictures, strict=True)}


def _uri(content: bytes) -> str:
    with Image.open(io.BytesIO(content)) as picture:
        if max(picture.size) <= EDGE and len(content) <= SMALL_FILE:
            return "data:image/png;base64," + base64.b64encode(content).decode()
        small = picture.convert("RGBA" if "A" in picture.getbands() else "RGB")
        small.thumbnail((EDGE, EDGE))
        buffer = io.BytesIO()
        small.save(buffer, format="WEBP", quality=80)
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
