"""(H + λI)⁻¹ v by the LiSSA recursion (Agarwal et al. 2017; Koh & Liang 2017, § 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attribution.curvature.gauss_newton import GaussNewton, Vectors
from attribution.errors import NumericalError
from attribution.progress import SILENT, Reporter

DIVERGED = 1e6
"""Relative residual beyond which going on is pointless."""


@dataclass
class Lissa:
    """h ← v + h - (H + λI) h / scale, and h / scale at the end.

    The recursion converges where ``scale`` exceeds the largest eigenvalue of H + λI; it is found by power iteration.
    J steps leave the directions of eigenvalue σ ≪ scale/J damped by about scale/J.

    Args:
        matrix: gives products with H.
        steps: J.
        tolerance: largest ‖(H + λI)x - v‖ / ‖v‖ that counts as solved.
        must_converge: whether a larger residual after J steps is an error; else `residual` tells it.
    """

    matrix: GaussNewton
    steps: int = 2000
    tolerance: float = 1e-2
    must_converge: bool = True
    reporter: Reporter = SILENT
    residual: float = 0.0
    """Largest relative residual of the last solve."""

    def inverse(self, vectors: Vectors, damping: float) -> Vectors:
        """``(H + damping·I)⁻¹ v`` for Q vectors by block (Q, *shape).

        Raises:
            NumericalError: the recursion diverged, or did not converge although it had to.
        """
        scale = 1.1 * (self._largest(vectors) + damping)
        found = vectors
        for step in range(self.steps):
            product = self.matrix.product(found)
            change = {
                name: vectors[name] - (product[name] + damping * tensor) / scale
                for name, tensor in found.items()
            }
            found = {name: tensor + change[name] for name, tensor in found.items()}
            self.residual = _length(change) / max(_length(vectors), 1e-30)
            if self.residual <= self.tolerance or not self.residual < DIVERGED:
                break
            self.reporter(step / self.steps, f"LiSSA: step {step}, residual {self.residual:.1e}")
        if self.residual <= self.tolerance or (self.residual < DIVERGED and not self.must_converge):
            return {name: tensor / scale for name, tensor in found.items()}
        raise NumericalError(
            f"LiSSA did not converge in {self.steps} steps (residual {self.residual:.1e}): use conjugate gradients."
        )

    def _largest(self, like: Vectors, iterations: int = 20) -> float:
        generator = torch.Generator().manual_seed(0)
        probe = {n: torch.randn(t[:1].shape, generator=generator).to(t) for n, t in like.items()}
        value = 0.0
        for _ in range(iterations):
            length = _length(probe)
            probe = self.matrix.product({name: tensor / length for name, tensor in probe.items()})
            value = _length(probe)
            if value == 0:
                break
        return value


def _length(vectors: Vectors) -> float:
    """The largest of the Q norms."""
    squares = torch.stack([tensor.double().flatten(1).square().sum(dim=1) for tensor in vectors.values()])
    return float(squares.sum(dim=0).sqrt().max())
