"""Functions of an EK-FAC curvature, applied through its eigenvalues."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from attribution.curvature import EKFAC

Spectrum = Callable[[Tensor], Tensor]
"""Eigenvalues of one block -> what each eigendirection is multiplied by."""


def applied(curvature: EKFAC, vectors: dict[str, Tensor], function: Spectrum) -> dict[str, Tensor]:
    """``f(H) v`` for Q vectors by block (Q, *shape)."""
    return {
        name: block.rotate_back(block.rotate(vectors[name]) * function(block.eigenvalues))
        for name, block in curvature.blocks.items()
    }


def inverse_damped(damping: float) -> Spectrum:
    """1 / (σ + λ), the same λ for all blocks."""
    return lambda eigenvalues: 1 / (eigenvalues + damping)


def inverse_damped_by_block(share: float) -> Spectrum:
    """1 / (σ + λ) with λ a share of the block's own mean eigenvalue."""
    return lambda eigenvalues: 1 / (eigenvalues + share * eigenvalues.mean())
