"""The last layer alone, refitted on fixed representations: a convex problem that can be solved again in no time."""

from __future__ import annotations

import torch
from torch import Tensor

from attribution.errors import NumericalError
from attribution.task import LossFunction

HEAD_PENALTY = 6e-3
"""λ of the refitted layer's ½λ‖W‖²: the 0.003 ‖W‖² of Yeh et al. 2018."""

_ITERATIONS = 500
_SOLVED = 1e-8
"""Largest entry of the gradient of the objective at which it counts as minimal."""


def with_ones(features: Tensor) -> Tensor:
    """Representations (N, D) in float64 with a column of ones for the bias, (N, D + 1)."""
    return torch.cat([features.double(), torch.ones(len(features), 1, dtype=torch.float64)], dim=1)


def fit_head(
    inputs: Tensor,
    labels: Tensor,
    classes: int,
    loss: LossFunction,
    penalty: float,
    *,
    weights: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """The W (C, D) that minimises (1/N) Σ_i w_i ℓ(W x_i, y_i) + ½ penalty ‖W‖².

    Args:
        inputs: x (N, D) in float64.
        labels: y (N,).
        weights: w (N,), 1 by default; the sum is divided by N whatever they are.
        start: a first guess.

    Raises:
        NumericalError: the minimum was not reached.
    """
    found = torch.zeros(classes, inputs.shape[1], dtype=torch.float64) if start is None else start.clone()
    found.requires_grad_()
    share = torch.full((len(inputs),), 1 / len(inputs), dtype=torch.float64)
    if weights is not None:
        share = share * weights
    optimizer = torch.optim.LBFGS(
        [found],
        max_iter=_ITERATIONS,
        tolerance_grad=_SOLVED / 10,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        value = (loss(inputs @ found.T, labels) * share).sum() + penalty / 2 * found.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(objective)
        objective()
    left = found.grad
    if left is None or not float(left.abs().max()) < 1e3 * _SOLVED:
        raise NumericalError("Refitting the last layer did not converge: use a stronger penalty.")
    return found.detach()
