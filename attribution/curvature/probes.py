"""Random gradients whose second moment is the curvature, one backward pass each.

The Gauss-Newton matrix is E[J_iᵀ A_i J_i] with A_i the Hessian of example i's loss in its logits. If u is random with
E[u uᵀ] = A_i, then g = J_iᵀ u, the gradient of u · logits, has E[g gᵀ] = J_iᵀ A_i J_i. Three choices of u:

- ``signs``: u = A^½ ε with random signs ε. For cross-entropy A = diag(p) - p pᵀ = B Bᵀ with B = diag(√p) - p √pᵀ, so
  u = √p ∘ ε - p (√p · ε).
- ``sampled``: u = p - onehot(y) with y drawn from p (Martens 2014; Grosse et al. 2023): the gradient at a label drawn
  from the model. A confident model draws a label other than the obvious one rarely, and then u is large: all curvature
  then comes from a handful of examples. Signs have the same mean without the rare large values: measured on digits,
  250 examples with signs fit as well as 1,000 with sampled labels.
- ``empirical``: u = p - onehot(label), the gradient of the loss itself. Not the curvature, but deterministic.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from attribution.capture import ValueFunction
from attribution.curvature.output_hessian import output_hessian
from attribution.task import LossFunction, cross_entropy

Probe = Literal["signs", "sampled", "empirical"]


class Probes:
    """One random gradient for each training example.

    What an example draws depends on its dataset position alone, not on batches or their order.

    Args:
        kind: how u is drawn.
        loss: the training loss.
        examples: size N of the training data.
        classes: number C of logits.
        seed: of the draws.
    """

    def __init__(self, kind: Probe, loss: LossFunction, examples: int, classes: int, seed: int) -> None:
        self._kind = kind
        self._loss = loss
        generator = torch.Generator().manual_seed(seed)
        if kind == "signs":
            self._noise = torch.randint(0, 2, (examples, classes), generator=generator, dtype=torch.int8)
        elif kind == "sampled":
            self._noise = torch.rand(examples, generator=generator)

    def at(self, positions: Tensor) -> ValueFunction:
        """The value function whose gradient is the probe, for a batch of these dataset positions (B,)."""
        if self._kind == "empirical":
            return self._loss
        noise = self._noise[positions]

        def value(logits: Tensor, labels: Tensor) -> Tensor:
            drawn = noise.to(logits.device)
            if self._kind == "sampled":
                return self._loss(logits, sampled_labels(logits, drawn))
            signs = 2.0 * drawn.double() - 1.0
            direction = signed_direction(self._loss, logits.detach(), labels, signs)
            return (logits * direction.to(logits)).sum(dim=1)

        return value


def signed_direction(loss: LossFunction, logits: Tensor, labels: Tensor, signs: Tensor) -> Tensor:
    """A^½ ε (B, C) for signs ε (B, C): its second moment over random signs is the loss's Hessian in the logits."""
    if loss is cross_entropy:
        chances = logits.double().softmax(dim=1)
        spread = chances.sqrt() * signs
        return spread - chances * spread.sum(dim=1, keepdim=True)
    values, basis = torch.linalg.eigh(output_hessian(loss, logits, labels).double())
    scaled = values.clamp_min(0.0).sqrt() * signs
    return torch.einsum("bcd,bd->bc", basis, scaled)


def sampled_labels(logits: Tensor, uniform: Tensor) -> Tensor:
    """Labels (B,) drawn from softmax(logits) by inverting its distribution at ``uniform`` (B,) in [0, 1)."""
    cumulative = logits.detach().double().softmax(dim=1).cumsum(dim=1)
    return (cumulative < uniform.double().unsqueeze(1)).sum(dim=1).clamp_max(logits.shape[1] - 1)
