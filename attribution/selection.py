"""Which set of training examples, not only which single ones (MISS: Hu et al. 2024).

The effect of removing a set is not the sum of the effects of removing its members: twins cover for one another, and
groups strengthen one another. Greedy selection by score cannot see that; adaptive selection scores again after each few
removals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.curvature.output_hessian import output_hessian
from attribution.errors import UsageError
from attribution.linear_head import fit_head
from attribution.measurements import logit_gradient
from attribution.task import LossFunction

Rescore = Callable[[Sequence[int]], Tensor]
"""Positions of removed training examples -> scores (N,) of all in the model without them."""


def greedy_set(scores: Tensor, size: int) -> list[int]:
    """The ``size`` examples of the largest positive scores (N,), strongest first; fewer if fewer are positive."""
    return _strongest(scores, [], size)


def adaptive_set(rescore: Rescore, size: int, per_round: int = 1) -> list[int]:
    """At most ``size`` examples, chosen ``per_round`` at a time by scores that know of the ones chosen before.

    Ends early where no score is positive any more.

    Raises:
        UsageError: fewer than one example a round.
    """
    if per_round < 1:
        raise UsageError("Choose at least one example a round.")
    chosen: list[int] = []
    while len(chosen) < size:
        found = _strongest(rescore(chosen), chosen, min(per_round, size - len(chosen)))
        if not found:
            break
        chosen += found
    return chosen


def _strongest(scores: Tensor, taken: Sequence[int], count: int) -> list[int]:
    free = scores.clone()
    free[list(taken)] = -torch.inf
    order = torch.argsort(free, descending=True, stable=True)[:count]
    return [int(position) for position in order if free[position] > 0]


@dataclass
class HeadRemoval:
    """Removing training examples from under the last layer alone, everything before it held fixed.

    Args:
        inputs: what the layer reads of the training examples (N, D), in float64.
        labels: (N,).
        classes: number C of logits.
        loss: the training loss.
        penalty: of ½ penalty ‖W‖², which makes the layer's optimum unique.
        test_input, test_label: (1, D) and (1,) of the example in question.
        value: the measurement of it.
    """

    inputs: Tensor
    labels: Tensor
    classes: int
    loss: LossFunction
    penalty: float
    test_input: Tensor
    test_label: Tensor
    value: Callable[[Tensor, Tensor], Tensor]

    def __post_init__(self) -> None:
        self._whole = self._fitted([], None)
        self._latest: tuple[tuple[int, ...], Tensor] = (), self._whole

    def logits(self, removed: Sequence[int]) -> Tensor:
        """Logits (C,) of the test example after a refit without some training examples."""
        return self._logits(self._without(removed))

    def measured(self, removed: Sequence[int]) -> float:
        """The measurement after a refit without some training examples."""
        return float(self.value(self.logits(removed).unsqueeze(0), self.test_label))

    def scores(self, removed: Sequence[int]) -> Tensor:
        """Minus the effect (N,) of removing each further example, by a Newton step from the refit without ``removed``.

        Taking J_iᵀu_i / N out of the gradient and J_iᵀA_iJ_i / N out of the curvature H moves the measurement by
        (1/N) g_fᵀ H⁻¹ J_iᵀ (1 - A_i K_i / N)⁻¹ u_i with K_i = J_i H⁻¹ J_iᵀ, the leverage. That is exact for squared
        errors, where it is x_fᵀ(XᵀX)⁻¹x_i (ŷ_i - y_i)/(1 - h_ii).
        """
        head = self._without(removed)
        logits = self.inputs @ head.T
        count, width = self.inputs.shape
        pulls = logit_gradient(self.loss, logits, self.labels)  # u (N, C)
        bends = output_hessian(self.loss, logits, self.labels)  # A (N, C, C)
        curvature = torch.einsum(
            "nab,n,ni,nj->aibj", bends, self._kept(removed) / count, self.inputs, self.inputs
        )
        flat = curvature.reshape(self.classes * width, self.classes * width)
        flat.diagonal().add_(self.penalty)
        inverse = torch.linalg.inv(flat).reshape(self.classes, width, self.classes, width)
        leverage = self._leverage(inverse)
        eye = torch.eye(self.classes, dtype=torch.float64)
        amplified = torch.linalg.solve(eye - bends @ leverage / count, pulls.unsqueeze(2)).squeeze(2)
        wanted = logit_gradient(self.value, self.test_input @ head.T, self.test_label)[0]  # (C,)
        direction = torch.einsum("a,i,aibj->bj", wanted, self.test_input[0], inverse)
        effects: Tensor = ((self.inputs @ direction.T) * amplified).sum(dim=1) / count
        return -effects

    def _leverage(self, inverse: Tensor) -> Tensor:
        """K_i = J_i H⁻¹ J_iᵀ (N, C, C), a few examples at a time."""

        classes, width = inverse.shape[:2]
        by_input = inverse.permute(1, 0, 2, 3).reshape(width, -1)
        return torch.cat(
            [
                ((rows @ by_input).reshape(-1, classes * classes, width) @ rows.unsqueeze(2)).reshape(
                    -1, classes, classes
                )
                for rows in self.inputs.split(256)
            ]
        )

    def _without(self, removed: Sequence[int]) -> Tensor:
        if not removed:
            return self._whole
        # Sets grow by a few examples at a time: the last refit is nearly the next one.
        if tuple(removed) != self._latest[0]:
            self._latest = tuple(removed), self._fitted(removed, self._latest[1])
        return self._latest[1]

    def _fitted(self, removed: Sequence[int], start: Tensor | None) -> Tensor:
        return fit_head(
            self.inputs,
            self.labels,
            self.classes,
            self.loss,
            self.penalty,
            weights=self._kept(removed),
            start=start,
        )

    def _kept(self, removed: Sequence[int]) -> Tensor:
        kept = torch.ones(len(self.inputs), dtype=torch.float64)
        kept[list(removed)] = 0
        return kept

    def _logits(self, head: Tensor) -> Tensor:
        return (self.test_input @ head.T)[0]


@dataclass(frozen=True)
class FlippingSet:
    """Training examples whose removal changes the predicted class of the refitted last layer.

    Args:
        positions: the examples, in the order of choice; none can be left out.
        flipped: False where even the largest set tried did not change the class; then ``positions`` is that set.
        before, after: predicted class numbers.
    """

    positions: list[int]
    flipped: bool
    before: int
    after: int


def smallest_flipping_set(removal: HeadRemoval, largest: int, per_round: int = 1) -> FlippingSet:
    """A small set of training examples without which the test example is predicted otherwise.

    Chosen adaptively until the class changes, then freed of every example that it does not need. What it says is
    about the last layer, refitted; whether the whole model follows takes a real retrain.

    Raises:
        UsageError: fewer than one example a round.
    """
    if per_round < 1:
        raise UsageError("Choose at least one example a round.")
    before = _predicted(removal, [])
    chosen: list[int] = []
    while len(chosen) < largest and _predicted(removal, chosen) == before:
        found = _strongest(removal.scores(chosen), chosen, min(per_round, largest - len(chosen)))
        if not found:
            break
        chosen += found
    after = _predicted(removal, chosen)
    if after == before:
        return FlippingSet(chosen, False, before, before)
    for position in reversed(list(chosen)):  # the last chosen are the weakest
        rest = [other for other in chosen if other != position]
        if _predicted(removal, rest) != before:
            chosen = rest
    return FlippingSet(chosen, True, before, _predicted(removal, chosen))


def _predicted(removal: HeadRemoval, removed: Sequence[int]) -> int:
    return int(removal.logits(removed).argmax())
