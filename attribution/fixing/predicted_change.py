"""What attribution says that retraining with the edits of a fix does to the margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.curvature.store import REFINED_ON
from attribution.fixing.treatment import Treatment
from attribution.methods import (
    Direction,
    DirectionalMethod,
    Method,
    ProjectFacts,
    default_method,
    method_named,
)
from attribution.progress import Reporter
from attribution.query import Query, Solving, Target
from attribution.relabelling import scores_as_labelled
from attribution.runs import Run
from attribution.task import Task

SOLVING_STEPS = 8
"""Steps of conjugate gradients that refine EK-FAC for a prediction: on digits, predictions are the same from six on."""

FEWEST = 1000
"""Training examples that conjugate gradients look at in any case, as fitting EK-FAC does."""


def predicting_method(name: str, facts: ProjectFacts) -> DirectionalMethod:
    """The method of that name where its scores estimate retraining and can run here, else the project's default one."""
    chosen = method_named(name)
    if not _estimates(chosen) or chosen.missing(facts) is not None:
        chosen = method_named(default_method(facts))
    assert isinstance(chosen, DirectionalMethod)
    return chosen


def _estimates(method: Method) -> bool:
    return isinstance(method, DirectionalMethod) and method.estimates_retraining


@dataclass(frozen=True)
class Predictor:
    """A method's directions for the margins of some targets, to be multiplied with the gradients of any examples.

    Where the method inverts the curvature by EK-FAC, a few steps of conjugate gradients refine it, with the damping
    that goes with the whole matrix. The scores of the index rank examples well, but add up to too much: measured on
    digits over 195 sets of edits (docs/verify.json), retraining moves the margin by a fifth of what they say (Pearson
    r .81), and by about one and a half times what the refined ones say (.90).
    """

    query: Query
    directions: list[Direction]

    @classmethod
    def of(
        cls,
        run: Run,
        method: DirectionalMethod,
        targets: Sequence[Target],
        reporter: Reporter,
        *,
        refine: bool = True,
    ) -> Predictor:
        """The directions of a method.

        Raises:
            NumericalError: a gradient is NaN or infinite.
        """
        run.complete(method, reporter.share(0.0, 0.5))
        query = Query(
            run.loaded,
            targets,
            refine=refine,
            solving=Solving(SOLVING_STEPS, _affordable(run.loaded.task)),
            reporter=reporter.share(0.5, 1.0),
        )
        return cls(query, method.directions(query))

    @property
    def refined(self) -> bool:
        """Whether conjugate gradients had a part in it."""
        return "cg" in self.query.solvers

    def changes(self, treatment: Treatment) -> Tensor:
        """By how much each edit moves each target's margin, (Q, n) in float64.

        A score is the change by one more copy of the example. Up-weighting adds it, removing takes it away, and
        relabelling takes the example away and adds it with its new label.
        """
        positions, actions = treatment.positions, treatment.actions
        own_labels = self.query.loaded.train_labels[torch.tensor(positions)].tolist()
        own = scores_as_labelled(self.query, self.directions, positions, own_labels)
        if "relabel" not in actions:
            signs = torch.tensor([1.0 if action == "upweight" else -1.0 for action in actions])
            return own * signs
        new = scores_as_labelled(self.query, self.directions, positions, treatment.labels)
        change = {"upweight": own, "remove": -own, "relabel": new - own}
        return torch.stack([change[action][:, number] for number, action in enumerate(actions)], dim=1)


def _affordable(task: Task) -> int:
    """How many training examples conjugate gradients look at: all their steps cost about as much as training does."""
    last = task.checkpoints[-1].step if task.checkpoints else 0
    as_training = (task.steps or last) * task.batch_size // SOLVING_STEPS
    return min(max(FEWEST, as_training), REFINED_ON)
