"""(H + λI)⁻¹ v by conjugate gradients, preconditioned by EK-FAC (Hestenes & Stiefel 1952; Grosse et al. 2023, § 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.curvature.gauss_newton import GaussNewton, Vectors
from attribution.curvature.protocol import Inverse
from attribution.errors import NumericalError
from attribution.progress import SILENT, Reporter


@dataclass
class ConjugateGradient:
    """The inverse of the Gauss-Newton matrix itself, as exact as ``tolerance`` asks for.

    Args:
        matrix: gives products with H.
        preconditioner: an approximate curvature that is cheap to invert; None for plain conjugate gradients.
        tolerance: largest ‖(H + λI)x - v‖ / ‖v‖ that counts as solved.
        max_iterations: products with H after which a residual above ``tolerance`` is an error.
        must_converge: False takes what `max_iterations` steps from zero lead to: of the solution the part that the
            gradients at hand see is settled first.
        least_preconditioner_damping: added to the preconditioner's eigenvalues where λ is smaller. Any value leads to
            the same solution; a small one trusts directions in which the preconditioner saw no curvature.
    """

    matrix: GaussNewton
    preconditioner: Inverse | None = None
    tolerance: float = 1e-2
    max_iterations: int = 500
    must_converge: bool = True
    reporter: Reporter = SILENT
    least_preconditioner_damping: float = 0.0
    residual: float = 0.0
    """Largest relative residual of the last solve."""

    def inverse(self, vectors: Vectors, damping: float) -> Vectors:
        """``(H + damping·I)⁻¹ v`` for Q vectors by block (Q, *shape).

        Raises:
            NumericalError: the iteration did not converge although it must.
        """
        solution = {name: torch.zeros_like(vector) for name, vector in vectors.items()}
        residual = {name: vector.clone() for name, vector in vectors.items()}
        lengths = _dot(vectors, vectors).sqrt().clamp_min(1e-30)
        direction = preconditioned = self._precondition(residual, damping)
        inner = _dot(residual, preconditioned)
        for iteration in range(self.max_iterations):
            self.residual = float((_dot(residual, residual).sqrt() / lengths).max())
            if self.residual <= self.tolerance:
                return solution
            self.reporter(
                iteration / self.max_iterations,
                f"Solving: iteration {iteration}, residual {self.residual:.1e}",
            )
            product = _plus(self.matrix.product(direction), direction, damping)
            curvature = _dot(direction, product)
            step = torch.where(curvature > 0, inner / curvature.clamp_min(1e-38), torch.zeros_like(inner))
            solution = _plus(solution, direction, step)
            residual = _plus(residual, product, -step)
            preconditioned = self._precondition(residual, damping)
            following = _dot(residual, preconditioned)
            ratio = torch.where(inner > 0, following / inner.clamp_min(1e-38), torch.zeros_like(inner))
            direction = _plus(preconditioned, direction, ratio)
            inner = following
        self.residual = float((_dot(residual, residual).sqrt() / lengths).max())
        if self.residual <= self.tolerance or not self.must_converge:
            return solution
        raise NumericalError(
            f"Conjugate gradients did not converge: after {self.max_iterations} iterations the residual is "
            f"{self.residual:.1e} instead of {self.tolerance:.0e}. Use the method ekfac, without --refine."
        )

    def _precondition(self, vectors: Vectors, damping: float) -> Vectors:
        if self.preconditioner is None:
            return vectors
        return self.preconditioner.inverse(vectors, max(damping, self.least_preconditioner_damping))


def _dot(first: Vectors, second: Vectors) -> Tensor:
    """Inner products (Q,) in float64."""
    parts = [(first[name].double() * second[name].double()).flatten(1).sum(dim=1) for name in first]
    return torch.stack(parts).sum(dim=0)


def _plus(first: Vectors, second: Vectors, factor: Tensor | float) -> Vectors:
    """first + factor · second, with a factor for each of the Q vectors, or one for all."""

    def shaped(tensor: Tensor) -> Tensor | float:
        if isinstance(factor, float):
            return factor
        return factor.to(tensor).reshape(-1, *[1] * (tensor.dim() - 1))

    return {name: tensor + shaped(tensor) * second[name] for name, tensor in first.items()}
