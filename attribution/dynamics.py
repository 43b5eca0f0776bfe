"""What a segment of training does to a change of the parameters, and to the push of an example, for SGD and Adam.

Let δ be the derivative of the parameters in the weight of example i, and g its gradient at the segment. SOURCE (Bae et
al. 2024) takes curvature H and gradient as constant within a segment of K steps at learning rate η.

**SGD** with weight decay w takes δ ← δ - η ((H + wI) δ + g/N). After K steps of small size

    δ_K = S δ_0 - r,    S = exp(-ηK (H + wI)),    r = (1/N) (I - S)(H + wI)⁻¹ g,

both functions of H, applied in the eigenbasis of EK-FAC. Momentum β multiplies the length: ηK / (1 - β).

**Adam** moves by η P m with P = 1/(√v̂ + ε) elementwise and m a running mean of the gradient. P, like H, is taken as
constant within the segment (its own dependence on the example is neglected), so that

    δ ← δ - η (P H δ + w δ + P g/N)         AdamW: weight decay is taken off the parameters, outside P
    δ ← δ - η (P (H + wI) δ + P g/N)        Adam: weight decay is part of the gradient

The mean m has weights (1 - β₁) β₁ʲ, which add up to one: unlike the sum that SGD's momentum is, it delays a push and
does not multiply it, and the length stays ηK.

P is diagonal in the parameters and H in its eigenbasis Q, so P H has no common basis, and one of the two has to be
replaced by its diagonal in the other's. Bae et al. take diag(H) in the parameters. That forgets how parameters depend
on each other: on digits (tests/unit/test_source_adam.py, mean over eight seeds) it explains retraining worse than
influence functions that know no optimizer (LDS .73 and .83). Here P is replaced, by p = diag(Qᵀ P Q) (LDS .91). In Q
everything is then elementwise in the eigenvalues σ:

    S = exp(-ηK q),    r = (1/N) (1 - S)/q · p · g,    q = p σ + w (AdamW) or p (σ + w) (Adam),

where (1 - S)/q tends to ηK as q → 0. Where H is diagonal itself both are the same and exact. Following the
measurement's gradient u backwards over the segment gives the vector (1 - S)/q · p · u to be multiplied with g, and S u
is what the earlier segments see; SGD's is the same with p = 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from attribution.curvature.ekfac import EKFAC

Vectors = Mapping[str, Tensor]
"""Q vectors by block, each (Q, *shape)."""


class Dynamics(Protocol):
    """One segment of a run."""

    def accumulated(self, vectors: Vectors) -> dict[str, Tensor]:
        """What a constant push over the segment is multiplied by: N rᵀu = gᵀ · accumulated(u)."""
        ...

    def kept(self, vectors: Vectors) -> dict[str, Tensor]:
        """S u: how the measurement sees a change that was there before the segment."""
        ...


@dataclass(frozen=True)
class GradientDescent:
    """SGD over the length ηK/(1 - β), in the eigenbasis of its curvature."""

    curvature: EKFAC
    length: float
    weight_decay: float

    def accumulated(self, vectors: Vectors) -> dict[str, Tensor]:
        return self.curvature.mapped(
            vectors, lambda eigenvalues: accumulation(eigenvalues + self.weight_decay, self.length)
        )

    def kept(self, vectors: Vectors) -> dict[str, Tensor]:
        return self.curvature.mapped(
            vectors, lambda eigenvalues: torch.exp(-self.length * (eigenvalues + self.weight_decay))
        )


class Adam:
    """Adam over the length ηK, in the eigenbasis of its curvature.

    Args:
        curvature: H.
        preconditioner: P by block (*shape), in the parameters.
        length: ηK.
        weight_decay: w.
        decoupled: whether w acts on the parameters (AdamW) or on the gradient (Adam).
    """

    def __init__(
        self,
        curvature: EKFAC,
        preconditioner: Mapping[str, Tensor],
        length: float,
        weight_decay: float,
        *,
        decoupled: bool,
    ) -> None:
        self._curvature = curvature
        self._length = length
        self._speeds = curvature.diagonal_of(preconditioner)
        self._rates = {
            name: speed * block.eigenvalues + weight_decay
            if decoupled
            else speed * (block.eigenvalues + weight_decay)
            for (name, block), speed in zip(curvature.blocks.items(), self._speeds.values(), strict=True)
        }

    def accumulated(self, vectors: Vectors) -> dict[str, Tensor]:
        shares = {
            name: self._speeds[name] * accumulation(rates, self._length)
            for name, rates in self._rates.items()
        }
        return self._curvature.scaled(vectors, shares)

    def kept(self, vectors: Vectors) -> dict[str, Tensor]:
        shares = {name: torch.exp(-self._length * rates) for name, rates in self._rates.items()}
        return self._curvature.scaled(vectors, shares)


def accumulation(rates: Tensor, length: float) -> Tensor:
    """(1 - exp(-ηK q))/q, which tends to ηK for q → 0."""
    exponents = length * rates.double()
    ratio = -torch.expm1(-exponents) / exponents
    return (length * torch.where(exponents > 0, ratio, 1.0)).to(rates)
