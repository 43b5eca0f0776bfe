"""From tokens to the words of the text as a person sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST_WORD = 40
"""Characters beyond which pieces of a word stay apart: of scripts without spaces a "word" may be a whole sentence."""

Span = tuple[int, int]
"""Start and end of a token in its text, in characters; equal for a token that stands for no part of it."""


@dataclass(frozen=True)
class TokenizedText:
    """The tokens of one text, in the order in which the model reads them.

    Args:
        spans: where each token stands in the text.
        words: number of the word that each token belongs to; None for tokens that stand for no part of the text.
        nothing: number of a token that says nothing (a mask, or padding); None where there is none.
    """

    spans: Sequence[Span]
    words: Sequence[int | None]
    nothing: int | None = None


def tokens_of_spans(spans: Sequence[Span], text: str) -> TokenizedText:
    """Tokens of which nothing but the spans is known: those with no space between them make one word."""
    words: list[int | None] = []
    number, end = -1, -1
    for start, stop in spans:
        if stop <= start:
            words.append(None)
            continue
        if start != end or text[start : start + 1].isspace():
            number += 1
        words.append(number)
        end = stop
    return TokenizedText(list(spans), words)


@dataclass(frozen=True)
class Word:
    """A word of a text: where it stands, and the tokens that it is made of."""

    start: int
    end: int
    tokens: tuple[int, ...]


def words_of(text: str, tokenized: TokenizedText) -> list[Word]:
    """The words in order, without the spaces around them; every token with a span belongs to exactly one."""
    words: list[Word] = []
    last: int | None = None
    for number, ((start, end), word) in enumerate(zip(tokenized.spans, tokenized.words, strict=True)):
        start, end = _stripped(text, start, end)
        if end <= start or word is None:
            if word is not None and words and word == last:
                words[-1] = Word(words[-1].start, words[-1].end, (*words[-1].tokens, number))
            continue
        # A character of several bytes can be several tokens, each with the whole character as its span.
        joined = words and start <= words[-1].end and (word == last or start < words[-1].end)
        if joined and max(end, words[-1].end) - words[-1].start <= LONGEST_WORD:
            words[-1] = Word(words[-1].start, max(end, words[-1].end), (*words[-1].tokens, number))
        else:
            words.append(Word(max(start, words[-1].end) if words else start, end, (number,)))
        last = word
    return words


def parts_of_words(words: Sequence[Word], tokens: NDArray[np.float64]) -> NDArray[np.float64]:
    """The parts (W,) of words from those of all tokens (T,).

    What belongs to no word (a space that is a token of its own, say) counts towards the word before it, else the first.
    """
    parts = np.zeros(len(words))
    if not words:
        return parts
    home = {token: number for number, word in enumerate(words) for token in word.tokens}
    current = 0
    for token, part in enumerate(tokens):
        current = home.get(token, current)
        parts[current] += part
    return parts


def seen_of(text: str, words: Sequence[Word]) -> int | None:
    """Characters up to the end of the last word that was read; None where nothing but spaces follows."""
    end = max((word.end for word in words), default=0)
    return end if text[end:].strip() else None


def _stripped(text: str, start: int, end: int) -> Span:
    """The span without spaces at its ends."""
    while start < end and text[start : start + 1].isspace():
        start += 1
    while end > start and text[end - 1 : end].isspace():
        end -= 1
    return start, end
