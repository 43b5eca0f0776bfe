"""What every curvature can do."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Inverse(Protocol):
    """A way of applying the damped inverse of H, the generalised Gauss-Newton matrix of the mean training loss."""

    def inverse(self, vectors: dict[str, Tensor], damping: float) -> dict[str, Tensor]:
        """``(H + damping·I)⁻¹ v`` for Q vectors given by block, (Q, *shape).

        Raises:
            NumericalError: the result is not finite, or an iteration did not converge.
        """
        ...


class Curvature(Inverse, Protocol):
    """H itself, in some approximation."""

    def mean_eigenvalue(self) -> float:
        """Mean eigenvalue of H (its trace over its dimension), the scale that relative damping refers to."""
        ...
