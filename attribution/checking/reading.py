"""One more pass over a split, for what only the inputs tell: digests that forgive case and spacing, and lengths."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from attribution.checking.duplicates import Digests, digest, near_digest
from attribution.progress import Reporter
from attribution.projects import TransformersSource
from attribution.sources.tables import Table
from attribution.sources.text_data import TextTokenizer
from attribution.sources.text_rows import text_rows
from attribution.task import Task

TOKENIZED = 50_000
"""Texts of a split that are tokenised to learn how many are cut; of more, a random part of about as many is."""

SPECIAL_TOKENS = 8
"""More than a tokenizer adds to a text: an ASCII text has at most as many tokens as characters, and these."""

SEED = 0


@dataclass(frozen=True)
class Lengths:
    """How many texts are longer than the model is given.

    Args:
        limit: tokens that are kept.
        longer: of those looked at.
        looked_at: all texts, or a random part.
        longest: most tokens of any.
        first: id of the first one that is cut.
    """

    limit: int
    longer: int
    looked_at: int
    longest: int
    first: str | None


@dataclass(frozen=True)
class TextReading:
    """What a pass over a table of texts gives: near digests (N,), lengths, and the label that stands for each class."""

    near: Digests
    lengths: Lengths
    mapping: dict[str, int]


def read_texts(
    table: Table,
    source: TransformersSource,
    tokenizer: TextTokenizer,
    labels: np.ndarray,
    reporter: Reporter,
    message: str,
) -> TextReading:
    """Go through a table of texts whose labels (N,) are known; memory grows by eight bytes a row."""
    total = len(labels)
    random = np.random.default_rng(SEED)
    share = TOKENIZED / max(total, TOKENIZED)
    near = np.empty(total, dtype=np.uint64)
    mapping: dict[str, int] = {}
    looked_at = longer = longest = 0
    first: str | None = None
    for rows in text_rows(table, source):
        reporter(rows.start / total, message)
        pairs = rows.pairs
        parts = [(text,) if pairs is None else (text, pairs[row]) for row, text in enumerate(rows.texts)]
        near[rows.start : rows.start + len(rows)] = [near_digest(part) for part in parts]
        for row, label in enumerate(rows.labels):
            mapping.setdefault(str(label).strip(), int(labels[rows.start + row]))
        drawn = np.flatnonzero(random.random(len(rows)) < share)
        looked_at += len(drawn)
        doubtful = [int(row) for row in drawn if _may_be_longer(parts[row], tokenizer.limit)]
        found = tokenizer.lengths(
            [rows.texts[row] for row in doubtful], None if pairs is None else [pairs[row] for row in doubtful]
        )
        for row, length in zip(doubtful, found, strict=True):
            longest = max(longest, length)
            if length > tokenizer.limit:
                longer += 1
                first = first or rows.id(row)
    return TextReading(near, Lengths(tokenizer.limit, longer, looked_at, longest, first), mapping)


def _may_be_longer(parts: tuple[str, ...], limit: int) -> bool:
    characters = sum(map(len, parts))
    return characters + SPECIAL_TOKENS > limit or not all(part.isascii() for part in parts)


def input_digests(
    task: Task, split: str, seconds: float, reporter: Reporter, message: str
) -> tuple[Digests, Digests | None]:
    """Digests of the inputs of a task's split as far as ``seconds`` go; near ones where people see texts of them."""
    dataset, size = cast(Any, task.dataset(split)), task.size(split)
    display = task.train_display if split == "train" else task.test_display
    texts = display is not None and len(display) == size and isinstance(display[0], str)
    deadline = time.monotonic() + seconds
    exact: list[int] = []
    near: list[int] = []
    for position in range(size):
        if position % 256 == 0:
            reporter(position / size, message)
            if time.monotonic() > deadline and position:
                break
        exact.append(_of_input(dataset[position][0]))
        if texts and display is not None:
            near.append(near_digest((str(display[position]),)))
    return np.array(exact, dtype=np.uint64), np.array(near, dtype=np.uint64) if texts else None


def _of_input(inputs: Any) -> int:
    if isinstance(inputs, Mapping):
        return digest(b"".join(f"{name}:".encode() + _content(inputs[name]) for name in sorted(inputs)))
    return digest(_content(inputs))


def _content(value: Any) -> bytes:
    if isinstance(value, Tensor | np.ndarray | int | float | list | tuple):
        tensor = torch.as_tensor(value).detach().cpu().contiguous()
        return (
            f"{tuple(tensor.shape)}{tensor.dtype}".encode()
            + tensor.flatten().view(torch.uint8).numpy().tobytes()
        )
    return repr(value).encode()
