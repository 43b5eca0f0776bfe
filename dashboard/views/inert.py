"""Text of users' data made harmless for what shows it: nothing in it steers a terminal or reorders a sentence."""

from __future__ import annotations

_KEPT = "\n\t"
_CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
"""ASCII's and Latin-1's: a terminal obeys some of them, the escape sequences that begin with ESC and CSI above all."""

_REORDERING = [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029]
"""Embeddings, overrides and isolates of the bidirectional algorithm, which could turn what stands around a text, and
line separators. Text that runs from right to left by itself needs none of them."""

_SURROGATES = range(0xD800, 0xE000)
"""Halves of characters, as in the names of files that are not UTF-8: no output can hold them."""

_VISIBLE = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (*_CONTROLS, *_REORDERING, *_SURROGATES)
    if chr(code) not in _KEPT
}


def visible(text: str) -> str:
    r"""The text with every character that would do something shown as its code, ``\x1b`` say.

    Line ends and tabs stay; a carriage return before a line end goes with it.
    """
    return text.replace("\r\n", "\n").translate(_VISIBLE)
