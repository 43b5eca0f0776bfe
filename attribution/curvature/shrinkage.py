"""The shrinking of gradients that natural steps do, many times over with one curvature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.curvature.ekfac import EKFAC, EigenBlock
from attribution.errors import NumericalError

NEGLIGIBLE = 1e-6
"""A direction that loses a smaller share than this keeps all of it: the difference is of the size of rounding."""


class Shrinkage:
    """λ(H + λI)⁻¹ of one vector after another, as v - Q diag(Λ / (Λ + λ)) Qᵀ v.

    Directions of no curvature lose nothing, so they are not gone through. Of the last layer of a text classifier,
    whose curvature is fitted on one token of each of 1,000 examples, a third to two thirds of a basis is left out.

    Args:
        curvature: a fitted EK-FAC.
        damping: λ, larger than zero.

    Raises:
        NumericalError: the curvature is zero everywhere, or not finite.
    """

    def __init__(self, curvature: EKFAC, damping: float) -> None:
        finite = all(bool(torch.isfinite(block.eigenvalues).all()) for block in curvature.blocks.values())
        if not (finite and damping > 0):
            raise NumericalError(
                "The curvature of the training loss is zero or not finite at this model, so no step can be measured by "
                "it: check that the model does not give every training example a probability of exactly 1."
            )
        self._blocks = {name: _Lost.of(block, damping) for name, block in curvature.blocks.items()}

    def __call__(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same for vectors by block (*shape), all multiplied by λ(H + λI)⁻¹.

        Raises:
            NumericalError: the result is not finite.
        """
        result = {}
        for name, block in self._blocks.items():
            result[name] = vectors[name] - block.lost(vectors[name])
            if not bool(torch.isfinite(result[name]).all()):
                raise NumericalError(
                    f"The step of '{name}' is not finite: choose fewer or other training examples, or another "
                    "strategy; nothing was changed."
                )
        return result


@dataclass(frozen=True)
class _Lost:
    """The directions of a block that lose something, by their bases (None for the standard one), and what share."""

    left: Tensor | None
    right: Tensor | None
    shares: Tensor

    @classmethod
    def of(cls, block: EigenBlock, damping: float) -> _Lost:
        shares = block.eigenvalues / (block.eigenvalues + damping)
        left, right = block.left, block.right
        noticed = shares > NEGLIGIBLE
        if left is not None:
            rows = noticed.any(dim=1)
            left, shares, noticed = left[:, rows].contiguous(), shares[rows], noticed[rows]
        if right is not None:
            columns = noticed.any(dim=0) if shares.dim() == 2 else noticed
            right, shares = right[:, columns].contiguous(), shares[..., columns]
        return cls(left, right, shares.contiguous())

    def lost(self, vector: Tensor) -> Tensor:
        """What is taken off ``vector`` (*shape)."""
        if self.left is not None:
            vector = self.left.T @ vector
        if self.right is not None:
            vector = vector @ self.right
        vector = vector * self.shares
        if self.right is not None:
            vector = vector @ self.right.T
        return vector if self.left is None else self.left @ vector
