"""The order in which a training run sees its examples: batch after batch, by a seed, without end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def shuffled_batches(size: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Positions (B,) of one batch after another, a fresh seeded order every epoch, without end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(size, generator=generator).split(batch_size)


def similar_length_batches(
    lengths: Sequence[int], batch_size: int, seed: int, pool: int = 16
) -> Iterator[Tensor]:
    """Positions (B,) of one batch after another, every position once an epoch, without end.

    An epoch is shuffled, then cut into pools of ``pool`` batches; only within a pool are sentences sorted by
    length. Batches stay random, and nearly all of the padding goes, which would double the work.
    """
    generator = torch.Generator().manual_seed(seed)
    length = torch.tensor(lengths)
    while True:
        batches: list[Tensor] = []
        for positions in torch.randperm(len(length), generator=generator).split(pool * batch_size):
            ordered = positions[length[positions].argsort(stable=True)]
            batches += ordered.split(batch_size)
        for number in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[number]
