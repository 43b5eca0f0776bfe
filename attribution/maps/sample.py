"""Which examples a map is made from: evenly by class, and the same ones in whatever order the data come."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray


def shuffled(ids: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Positions (N,) in an order that depends on the ids alone: by their CRC-32 with the seed."""
    digests = np.fromiter((zlib.crc32(f"{seed} {name}".encode()) for name in ids), np.int64, len(ids))
    return np.lexsort((np.asarray(ids, dtype=str), digests))


def even_sample(
    ids: Sequence[str],
    labels: NDArray[np.integer],
    most: int,
    *,
    seed: int,
    always: Collection[int] = (),
) -> NDArray[np.int64]:
    """Positions of at most ``most`` examples, as many of each class as there are, and of ``always``.

    Classes take turns, so that rare ones are there whole before common ones fill what is left. The order, and the
    choice, depend on ids and seed, not on the order of the data.

    Args:
        ids: of the N examples.
        labels: class numbers (N,).
        always: positions that come whatever their number.
    """
    order = shuffled(ids, seed)
    kept = np.zeros(len(ids), dtype=bool)
    kept[list(always)] = True
    turns = np.empty(len(ids), dtype=np.int64)
    for number in np.unique(labels):
        members = order[labels[order] == number]
        members = np.concatenate([members[kept[members]], members[~kept[members]]])
        turns[members] = np.arange(len(members))
    by_turn = order[np.argsort(turns[order], kind="stable")]
    room = max(most - int(kept.sum()), 0)
    chosen = kept.copy()
    chosen[by_turn[~kept[by_turn]][:room]] = True
    return order[chosen[order]]
