"""Examples that occur more than once: within training, with conflicting labels, and in both splits.

Told from 64-bit digests of the inputs, sixteen bytes a row, so that a million rows take no more than their numbers do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.checking.finding import Finding, counted, percent

MANY = 0.05
"""Share of copies in the training data that is worth a warning."""

FIRST = 3
"""Examples whose ids are told."""

Digests = NDArray[np.uint64]
Positions = NDArray[np.int64]

NameOf = Callable[[int], str]
"""The id of the example at a position: a report names a handful."""

_WORD = re.compile(r"\w+")


def digest(content: bytes) -> int:
    """64 bits that are equal for equal contents: of a million, two different ones agree with probability 3e-8."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def near_digest(texts: Sequence[str]) -> int:
    """The digest of a text (or of both parts of a pair) whatever its case, punctuation and spacing.

    What has no words is taken as it stands.
    """
    return digest("\n".join(" ".join(_WORD.findall(text.casefold())) or text for text in texts).encode())


@dataclass(frozen=True)
class Repeated:
    """Examples of one split that have a copy earlier in it.

    Args:
        copies: positions of all but the first of each group.
        firsts: position of the first one, for each copy.
        groups: how many different inputs occur more than once.
        conflicting: positions of those in a group with several labels, the first of it included.
        conflicts: how many such groups there are.
    """

    copies: Positions
    firsts: Positions
    groups: int
    conflicting: Positions
    conflicts: int


def repeated(digests: Digests, labels: NDArray[np.int64]) -> Repeated:
    """Copies within a split."""
    _, first, inverse, counts = np.unique(digests, return_index=True, return_inverse=True, return_counts=True)
    copies = np.flatnonzero(first[inverse] != np.arange(len(digests)))
    differs = labels != labels[first[inverse]]
    disputed = np.zeros(len(counts), dtype=bool)
    disputed[inverse[differs]] = True
    conflicting = np.flatnonzero(disputed[inverse])
    return Repeated(copies, first[inverse[copies]], int((counts > 1).sum()), conflicting, int(disputed.sum()))


@dataclass(frozen=True)
class Shared:
    """Test examples whose input is a training example's, too.

    Args:
        test: their positions.
        train: the position of the first such training example, for each.
    """

    test: Positions
    train: Positions


def shared(train: Digests, test: Digests) -> Shared:
    """What both splits have."""
    values, first = np.unique(train, return_index=True)
    place = np.minimum(np.searchsorted(values, test), max(len(values) - 1, 0))
    found = np.flatnonzero(values[place] == test) if len(values) else np.empty(0, dtype=np.int64)
    return Shared(found, first[place[found]])


@dataclass(frozen=True)
class Looked:
    """How many examples of each split were compared, of how many; None of near digests where inputs are no texts."""

    train: Digests
    test: Digests
    near_train: Digests | None
    near_test: Digests | None
    sizes: tuple[int, int]

    @property
    def whole(self) -> bool:
        return (len(self.train), len(self.test)) == self.sizes

    @property
    def scope(self) -> str:
        """What was compared where that is not all, for the end of a sentence."""
        if self.whole:
            return ""
        return f", among the first {len(self.train):,} training and {len(self.test):,} test examples"


def duplicate_findings(
    looked: Looked, labels: NDArray[np.int64], ids: tuple[NameOf, NameOf]
) -> list[Finding]:
    """Within training, with conflicting labels, and between the splits.

    Args:
        labels: of the training examples.
        ids: what an example of either split is called, by its position.
    """
    within = repeated(looked.train, labels[: len(looked.train)])
    both = shared(looked.train, looked.test)
    near_copies = near_both = np.empty(0, dtype=np.int64)
    if looked.near_train is not None and looked.near_test is not None:
        alike = repeated(looked.near_train, labels[: len(looked.near_train)])
        near_copies = np.setdiff1d(alike.copies, within.copies)
        near_both = np.setdiff1d(shared(looked.near_train, looked.near_test).test, both.test)
    return [
        _within(within, near_copies, looked, ids[0]),
        _conflicting(within, looked, ids[0]),
        _between(both, near_both, looked, ids),
    ]


def _within(found: Repeated, near: Positions, looked: Looked, ids: NameOf) -> Finding:
    count, total = len(found.copies), len(looked.train)
    pairs = [[ids(a), ids(b)] for a, b in zip(found.firsts[:FIRST], found.copies[:FIRST], strict=True)]
    alike = [ids(position) for position in near[:FIRST]]
    numbers: dict[str, Any] = {"copies": count, "groups": found.groups, "first": pairs, "looked_at": total}
    numbers |= {"near": len(near), "first_near": alike}
    parts = []
    if count:
        parts.append(
            f"{counted(count, 'training example')} ({percent(count / total)}) {_are(count)} copies of earlier ones "
            f"(first '{pairs[0][1]}' of '{pairs[0][0]}')"
        )
    if alike:
        parts.append(
            f"{counted(len(near), 'training example')} {'differs' if len(near) == 1 else 'differ'} from an earlier one "
            f"only in case, punctuation or spacing (first '{alike[0]}')"
        )
    if not parts:
        sentence = f"No training example occurs twice{looked.scope}."
        return Finding("duplicates", "ok", sentence, numbers=numbers)
    many = (count + len(near)) / total > MANY
    remedy = "Copies share one effect among them: edit all of a group together, or drop the copies and train again."
    sentence = f"{'; '.join(parts)}{looked.scope}."
    return Finding("duplicates", "warning" if many else "note", sentence, remedy, numbers)


def _conflicting(found: Repeated, looked: Looked, ids: NameOf) -> Finding:
    first = [ids(position) for position in found.conflicting[:FIRST]]
    numbers = {"groups": found.conflicts, "examples": len(found.conflicting), "first": first}
    if not found.conflicts:
        sentence = f"No input of training has two labels{looked.scope}."
        return Finding("conflicting labels", "ok", sentence, numbers=numbers)
    sentence = (
        f"{counted(found.conflicts, 'input')} of training {'has' if found.conflicts == 1 else 'have'} different labels "
        f"in different places ({counted(len(found.conflicting), 'example')}, first '{first[0]}'){looked.scope}."
    )
    remedy = "At most one of the labels of an input is right: correct or drop the others."
    return Finding("conflicting labels", "warning", sentence, remedy, numbers)


def _between(found: Shared, near: Positions, looked: Looked, ids: tuple[NameOf, NameOf]) -> Finding:
    count, total = len(found.test), len(looked.test)
    pairs = [
        {"test": ids[1](test), "train": ids[0](train)}
        for test, train in zip(found.test[:FIRST], found.train[:FIRST], strict=True)
    ]
    alike = [ids[1](position) for position in near[:FIRST]]
    numbers: dict[str, Any] = {"test_examples": count, "first": pairs, "looked_at": total}
    numbers |= {"near": len(near), "first_near": alike}
    parts = []
    if count:
        parts.append(
            f"{counted(count, 'test example')} ({percent(count / total)}) {_are(count)} in the training data too "
            f"(first '{pairs[0]['test']}' as '{pairs[0]['train']}')"
        )
    if alike:
        parts.append(
            f"{counted(len(near), 'test example')} {'differs' if len(near) == 1 else 'differ'} from a training example "
            f"only in case, punctuation or spacing (first '{alike[0]}')"
        )
    if not parts:
        sentence = f"No test example is in the training data{looked.scope}."
        return Finding("leakage", "ok", sentence, numbers=numbers)
    remedy = "Test accuracy is flattered, and such an example is its own strongest cause: take them out of one split."
    sentence = f"{'; '.join(parts)}{looked.scope}."
    return Finding("leakage", "warning" if count else "note", sentence, remedy, numbers)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
