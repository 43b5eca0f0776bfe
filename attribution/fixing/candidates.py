"""The sets of edits that a suggestion tries, from one explanation. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attribution.errors import UsageError
from attribution.explanation import Explanation
from attribution.fixing.strategies import SHORT_LIST
from attribution.projects import Edit, Project
from attribution.projects.held_out import HeldOut

STRONGEST = 100
"""Culprits, and helpers, among which sets are looked for."""

SIZES = (1, 2, 3, 5, 10)
"""Of the sets of one kind."""

FOR_SEVERAL = (20,)
"""Sizes tried besides, where several test examples are to be fixed together."""

WITH_A_HELPER = (1, 2, 3, 5)
"""Relabelled culprits that one helper is put beside."""

FEW = 5
"""Where fewer culprits than this look mislabelled, helpers are tried in all sizes; else in these two."""

HELPERS = (1, 10)

REMOVED = 20
"""Of so many strongest culprits those are taken out whose label is not believed, and nothing else clearly said."""


@dataclass(frozen=True)
class Candidate:
    """A set of edits worth trying: training positions to relabel, to train on as they are, and to take out."""

    relabelled: tuple[int, ...] = ()
    upweighted: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        return len(self.relabelled) + len(self.upweighted) + len(self.removed)

    @property
    def kind(self) -> str:
        """What is done, whatever the numbers."""
        parts = {"relabel": self.relabelled, "upweight": self.upweighted, "remove": self.removed}
        return "+".join(name for name, members in parts.items() if members)

    def edits(self, project: Project, held_out: HeldOut | None) -> list[Edit]:
        """Relabelled is to what the held-out model says."""
        ids, names = project.predictions("train").index, project.class_names
        found = []
        if held_out is not None:
            found = [
                Edit(train_id=str(ids[p]), action="relabel", label=names[int(held_out.best[p])])
                for p in self.relabelled
            ]
        found += [Edit(train_id=str(ids[p]), action="upweight") for p in self.upweighted]
        return found + [Edit(train_id=str(ids[p]), action="remove") for p in self.removed]


@dataclass(frozen=True)
class Pool:
    """Training positions to choose from, strongest first.

    Args:
        suspects: culprits that look mislabelled: to be relabelled.
        helpers: of the true class (of any of several), with labels that are believed.
        doubtful: strong culprits with a label that is not believed, where no other is clearly right.
    """

    suspects: list[int]
    helpers: list[int]
    doubtful: list[int]

    @classmethod
    def of(
        cls,
        explanation: Explanation,
        held_out: HeldOut | None,
        relative: NDArray[np.floating] | None = None,
    ) -> Pool:
        """A rightly labelled example is neither relabelled nor taken out; a wrongly labelled one is no helper.

        Helpers are put in the order of ``relative`` scores (n_train,), as for `suggested_edits`, where these are given.
        """
        project, scores = explanation.project, explanation.scores
        table = project.predictions("train")
        labels = table["label"].to_numpy()
        trues = {project.class_names.index(str(example["true"])) for example in explanation.examples}
        of_true = np.isin(labels, list(trues))
        if held_out is None:
            wrong = np.zeros(len(labels), dtype=bool)
            unsure = labels != table["predicted"].to_numpy()
            doubted = wrong
        else:
            wrong, unsure = held_out.mislabelled, held_out.disbelieved
            doubted = held_out.disbelieved & ~held_out.mislabelled
        down = [int(p) for p in np.argsort(-scores, kind="stable") if scores[p] > 0]
        up = [int(p) for p in np.argsort(scores, kind="stable") if scores[p] < 0]
        helping = [p for p in up if of_true[p]]
        return cls(
            suspects=[p for p in down[:STRONGEST] if wrong[p]],
            helpers=_by_relative([p for p in helping if not unsure[p]] or helping, relative),
            doubtful=[p for p in down[:REMOVED] if doubted[p]],
        )

    @property
    def positions(self) -> list[int]:
        return [*self.suspects, *self.helpers, *self.doubtful]

    def candidates(self, *, several: bool = False) -> list[Candidate]:
        """The sets to try, smaller before larger; for several test examples, larger ones too.

        Raises:
            UsageError: there is none.
        """
        suspects, helpers = self.suspects, self.helpers
        more = FOR_SEVERAL if several else ()
        found = [Candidate(relabelled=tuple(suspects[:size])) for size in _within(SIZES + more, suspects)]
        if helpers:
            found += [
                Candidate(relabelled=tuple(suspects[:size]), upweighted=(helpers[0],))
                for size in _within(WITH_A_HELPER, suspects)
            ]
        sizes = (SIZES if len(suspects) < FEW else HELPERS) + more
        found += [Candidate(upweighted=tuple(helpers[:size])) for size in _within(sizes, helpers)]
        if self.doubtful and len(suspects) < FEW:
            found.append(Candidate(removed=tuple(self.doubtful)))
        if not found:
            raise UsageError(
                "No training example is worth suggesting here: none of the true class helps, and no culprit looks "
                "mislabelled. Try another method, or choose training examples yourself."
            )
        return sorted(found, key=lambda candidate: candidate.size)


def _by_relative(helpers: Sequence[int], relative: NDArray[np.floating] | None) -> list[int]:
    """The strongest helpers, those first that move the prediction most for what else they move."""
    if relative is None:
        return list(helpers[:STRONGEST])
    short = np.array(helpers[: SHORT_LIST * SIZES[-1]], dtype=np.int64)
    found: list[int] = short[np.argsort(relative[short], kind="stable")].tolist()
    return found


def _within(sizes: Sequence[int], members: Sequence[int]) -> list[int]:
    """The sizes that there are members for."""
    return [size for size in sizes if size <= len(members)]
