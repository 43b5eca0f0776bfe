"""The Hessian of a loss in the logits."""

from __future__ import annotations

import torch
from torch import Tensor

from attribution.task import LossFunction, cross_entropy


def output_hessian(loss: LossFunction, logits: Tensor, labels: Tensor) -> Tensor:
    """Second derivatives (B, C, C) of the per-example loss in the logits, made positive semi-definite.

    Cross-entropy has diag(p) - p pᵀ. Other losses are differentiated twice, one class after the other for the whole
    batch: a loss may then look at its numbers (``one_hot``, conditions on them), which it may not under ``vmap``.
    """
    if loss is cross_entropy:
        chances = logits.double().softmax(dim=1)
        return (torch.diag_embed(chances) - chances.unsqueeze(2) * chances.unsqueeze(1)).to(logits)
    values, basis = torch.linalg.eigh(_second_derivatives(loss, logits, labels).double())
    repaired: Tensor = basis * values.clamp_min(0.0).unsqueeze(-2) @ basis.transpose(-1, -2)
    return repaired.to(logits)


def _second_derivatives(loss: LossFunction, logits: Tensor, labels: Tensor) -> Tensor:
    """(B, C, C), from backward passes through the first derivatives."""
    with torch.enable_grad():
        asked = logits.detach().requires_grad_()
        values = loss(asked, labels).sum()
        # Row b of the gradient depends on example b alone.
        (slope,) = torch.autograd.grad(values, asked, create_graph=True)
        if not slope.requires_grad:  # linear in the logits
            return logits.new_zeros(*logits.shape, logits.shape[1])
        columns = [
            torch.autograd.grad(column.sum(), asked, retain_graph=True, materialize_grads=True)[0]
            for column in slope.unbind(dim=1)
        ]
    return torch.stack(columns, dim=1)
