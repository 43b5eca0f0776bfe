"""A task with 100,000 test examples, every fifth of them mispredicted: what the dashboard's pages are timed on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from attribution import Task

TRAIN, TEST = 2_000, 100_000
FEATURES, CLASSES, WORDS = 32, 10, 4_000
WRONG = 0.2
"""Share of the labels that are drawn at random."""


class Rows(Dataset[Any]):
    """Vectors and labels."""

    def __init__(self, inputs: Tensor, labels: Sequence[int]) -> None:
        self.inputs, self.labels = inputs, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        return self.inputs[position], self.labels[position]


def build() -> Task:
    """A linear classifier that knows the truth, labels that do not always, and sentences of made-up words to show."""
    torch.manual_seed(0)
    model = nn.Linear(FEATURES, CLASSES)
    inputs = torch.randn(TRAIN + TEST, FEATURES)
    with torch.no_grad():
        labels = model(inputs).argmax(dim=1)
    noisy = torch.rand(len(labels)) < WRONG
    labels[noisy] = torch.randint(CLASSES, (int(noisy.sum()),))
    texts = sentences(TRAIN + TEST)
    return Task(
        model,
        Rows(inputs[:TRAIN], labels[:TRAIN].tolist()),
        Rows(inputs[TRAIN:], labels[TRAIN:].tolist()),
        class_names=[f"class {number}" for number in range(CLASSES)],
        train_display=texts[:TRAIN],
        test_display=texts[TRAIN:],
    )


def sentences(count: int) -> list[str]:
    """Texts of 8 to 30 words, frequent words more often than rare ones."""
    generator = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(generator.choice(letters, size=generator.integers(2, 10))) for _ in range(WORDS)]
    lengths = generator.integers(8, 31, size=count)
    drawn = (WORDS * generator.random(int(lengths.sum())) ** 3).astype(int)
    ends = np.cumsum(lengths)
    return [
        " ".join(words[w] for w in drawn[end - length : end])
        for end, length in zip(ends, lengths, strict=True)
    ]
