"""The Hessian of a loss in the logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import hessian, vmap

from attribution.task import LossFunction


def output_hessian(loss: LossFunction, logits: Tensor, labels: Tensor) -> Tensor:
    """Second derivatives (B, C, C) of the per-example loss in the logits, made positive semi-definite."""

    def single(row: Tensor, label: Tensor) -> Tensor:
        return loss(row.unsqueeze(0), label.unsqueeze(0))[0]

    matrices: Tensor = vmap(hessian(single))(logits, labels)
    values, basis = torch.linalg.eigh(matrices.double())
    repaired: Tensor = basis * values.clamp_min(0.0).unsqueeze(-2) @ basis.transpose(-1, -2)
    return repaired.to(logits)
