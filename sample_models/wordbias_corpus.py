"""Sentences as skip-gram trains on them: frequent words thinned, and for every word its contexts and negatives.

All draws are made once and depend on the sentence's place alone, so that the loss of a sentence is a fixed function
of the embeddings.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LEAST_COUNT = 5
WINDOW = 5
NEGATIVES = 10
"""Negatives of one word, shared by its contexts: one each at most."""

THINNING = 1e-3
"""Words more frequent than this are kept with probability √(THINNING / frequency) (Mikolov et al. 2013, eq. 5)."""

NEGATIVE_POWER = 0.75
"""Negatives are drawn from counts to this power (Mikolov et al. 2013, § 2.2)."""

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")


def words_of(text: str) -> list[str]:
    """Lower-case words of a text."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class Vocabulary:
    """Words that occur often enough, most frequent first, with their counts."""

    words: list[str]
    counts: NDArray[np.float64]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Vocabulary:
        """The vocabulary of a corpus."""
        counted = Counter(word for text in texts for word in words_of(text))
        frequent = sorted((-count, word) for word, count in counted.items() if count >= LEAST_COUNT)
        return cls(
            [word for _, word in frequent], np.array([-count for count, _ in frequent], dtype=np.float64)
        )

    def kept(self) -> NDArray[np.float64]:
        """Probability with which an occurrence of each word is kept."""
        probabilities: NDArray[np.float64] = np.sqrt(THINNING / (self.counts / self.counts.sum())).clip(
            max=1.0
        )
        return probabilities

    def negatives(self) -> NDArray[np.float64]:
        """Distribution that negatives are drawn from."""
        powers = self.counts**NEGATIVE_POWER
        probabilities: NDArray[np.float64] = powers / powers.sum()
        return probabilities


@dataclass(frozen=True)
class Corpus:
    """The sentences in which at least two words are left.

    Args:
        rows: which sentences these are (N,).
        tensors: ``words`` (N, T) and ``partners`` (N, T, P) word numbers from 1, 0 for none; ``observed`` (N, T, P) 1
            for a context, -1 for a negative, 0 for none; ``signs`` (N, T, P), random 1 and -1. The P = 2 `WINDOW` +
            `NEGATIVES` partners are contexts first.
    """

    rows: list[int]
    tensors: dict[str, Tensor]

    @property
    def pairs(self) -> int:
        """Number of observed pairs of a word and a context."""
        return int((self.tensors["observed"] > 0).sum())


def corpus(texts: Sequence[str], vocabulary: Vocabulary, seed: int) -> Corpus:
    """Thin the sentences and draw their negatives and signs."""
    numbers = {word: 1 + row for row, word in enumerate(vocabulary.words)}
    kept, cumulative = vocabulary.kept(), vocabulary.negatives().cumsum()
    rows: list[int] = []
    sentences: list[dict[str, NDArray[np.int64]]] = []
    for row, text in enumerate(texts):
        random = np.random.default_rng([seed, row])
        known = np.array([numbers[word] for word in words_of(text) if word in numbers], dtype=np.int64)
        words = known[random.random(len(known)) < kept[known - 1]]
        if len(words) > 1:
            rows.append(row)
            sentences.append(_sentence(words, cumulative, random))
    longest = max(len(sentence["words"]) for sentence in sentences)
    return Corpus(rows, {name: _stacked([s[name] for s in sentences], longest) for name in sentences[0]})


def _sentence(
    words: NDArray[np.int64], cumulative: NDArray[np.float64], random: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Words (T,) with their partners, whether these were observed, and signs (T, P)."""
    offsets = [offset for offset in range(-WINDOW, WINDOW + 1) if offset != 0]
    places = np.arange(len(words))[:, None] + np.array(offsets)
    inside = (places >= 0) & (places < len(words))
    contexts = np.where(inside, words[places.clip(0, len(words) - 1)], 0)
    drawn = np.searchsorted(cumulative, random.random((len(words), NEGATIVES))).clip(0, len(cumulative) - 1)
    partners = np.concatenate([contexts, drawn + 1], axis=1)
    observed = np.concatenate([inside.astype(np.int64), np.full(drawn.shape, -1)], axis=1)
    return {
        "words": words,
        "partners": partners,
        "observed": observed,
        "signs": 2 * random.integers(0, 2, partners.shape) - 1,
    }


def _stacked(arrays: Sequence[NDArray[np.int64]], longest: int) -> Tensor:
    """(N, T, ...) in int16 (vocabularies are small), padded with zeros."""
    result = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), dtype=np.int16)
    for row, array in enumerate(arrays):
        result[row, : len(array)] = array
    return torch.from_numpy(result)
