"""What the model looked at, as a report shows it: marked words or a tinted picture, without script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboard.report.escaping import escape
from dashboard.report.pictures import shown

FAINT = 0.2
"""Strength of a word below which it is not marked, as on the page."""

LONGEST_TEXT = 900
"""Characters of a marked text that are shown."""


def looked_html(kind: str, value: str, name: str, looked: Mapping[str, Any]) -> str:
    """HTML of an example with what the model looked at in it, and a legend.

    Args:
        kind, value, name: of the example, as for `pictures.shown`.
        looked: what `views.saliency.looked_at` says of it.
    """
    if looked["kind"] == "words":
        drawn = f'<blockquote class="text large" dir="auto">{_marked(looked)}</blockquote>'
    elif looked["kind"] == "pixels":
        drawn = f'<div class="tinted">{shown(kind, value, name, large=True)}{_tints(looked)}</div>'
    else:
        drawn = shown(kind, value, name, large=True) + _numbers(looked)
    ways = "".join(
        f'<span class="way"><span class="swatch {way} on-{looked["kind"]}"></span>{escape(looked[way])}</span>'
        for way in ("up", "down")
    )
    return f'{drawn}<p class="small muted legend">{ways}</p><p class="visually-hidden">{escape(looked["summary"])}</p>'


def _marked(looked: Mapping[str, Any]) -> str:
    parts, room = [], LONGEST_TEXT
    for piece in looked["pieces"]:
        text = piece["text"][:room]
        room -= len(text)
        strength = piece.get("strength", 0.0)
        if abs(strength) < FAINT:
            parts.append(escape(text))
        else:
            way, strong = "up" if strength > 0 else "down", " strong" if abs(strength) >= 0.5 else ""
            parts.append(
                f'<span class="mark {way}{strong}" style="--share:{8 + 42 * abs(strength):.0f}%" '
                f'title="{escape(piece["title"])}">{escape(text)}</span>'
            )
        if room <= 0:
            parts.append("…")
            break
    return "".join(parts)


def _tints(looked: Mapping[str, Any]) -> str:
    return "".join(
        f'<span class="tint {way}" style="mask-image:url({escape(looked[f"{way}_mask"])})"></span>'
        for way in ("up", "down")
    )


def _numbers(looked: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(row["name"])} = {escape(row["value"])}</th><td>{escape(row["part"])}</td></tr>'
        for row in looked["numbers"]
    )
    return f'<table class="facts" aria-label="What the model looked at">{rows}</table>'
