"""The exact Gauss-Newton matrix as a dense matrix: the oracle, for models of a few thousand parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from attribution.batches import batches
from attribution.capture import GradientCapture
from attribution.capture.capture import ValueFunction
from attribution.errors import UsageError
from attribution.task import Task

LARGEST = 10_000
"""Parameters up to which the dense matrix is formed (800 MB in float64)."""


class ExactCurvature:
    """H = (1/N) Σ_i J_iᵀ (diag(p_i) - p_i p_iᵀ) J_i, with J_i the Jacobian of the logits of example i."""

    def __init__(self, matrix: Tensor, shapes: dict[str, tuple[int, ...]]) -> None:
        self.matrix = matrix
        self._shapes = shapes
        self._eigen: tuple[Tensor, Tensor] | None = None

    def inverse(self, vectors: dict[str, Tensor], damping: float) -> dict[str, Tensor]:
        """``(H + damping·I)⁻¹ v`` by eigendecomposition, which is kept for the next damping."""
        if self._eigen is None:
            values, basis = torch.linalg.eigh(self.matrix)
            self._eigen = values.clamp_min(0.0), basis
        values, basis = self._eigen
        flat = torch.cat([vectors[name].flatten(1) for name in self._shapes], dim=1).double()
        solved = ((flat @ basis) / (values + damping)) @ basis.T
        result, start = {}, 0
        for name in self._shapes:
            width = vectors[name][0].numel()
            result[name] = solved[:, start : start + width].reshape(vectors[name].shape).to(vectors[name])
            start += width
        return result

    def mean_eigenvalue(self) -> float:
        """Trace over dimension."""
        return float(self.matrix.diagonal().mean())


def fit_exact(
    task: Task, capture: GradientCapture, *, device: torch.device | str = "cpu", batch_size: int
) -> ExactCurvature:
    """Form H at the parameters ``capture.model`` has now (cross-entropy), one backward pass per class.

    Raises:
        UsageError: the model is too large for a dense matrix.
    """
    shapes = capture.shapes
    dimension = sum(int(torch.tensor(shape).prod()) for shape in shapes.values())
    if dimension > LARGEST:
        raise UsageError(
            f"The exact curvature of {dimension:,} parameters does not fit a dense matrix: use ekfac instead."
        )
    matrix = torch.zeros(dimension, dimension, dtype=torch.float64)
    for batch in batches(task, "train", batch_size):
        moved = batch.to(device)
        rows = []
        for number in range(len(task.class_names)):
            gradients = capture.gradients(moved.inputs, moved.labels, _logit(number))
            dense = gradients.dense()
            rows.append(torch.cat([dense[name].flatten(1) for name in shapes], dim=1).double().cpu())
        jacobian = torch.stack(rows, dim=1)  # (B, C, P)
        chances = gradients.logits.double().softmax(dim=1).cpu()
        centred = jacobian - torch.einsum("bc,bcp->bp", chances, jacobian).unsqueeze(1)
        weighted = centred * chances.sqrt().unsqueeze(2)
        flat = weighted.flatten(0, 1)
        matrix += flat.T @ flat
    return ExactCurvature(matrix / task.size("train"), shapes)


def _logit(number: int) -> ValueFunction:
    return lambda logits, labels: logits[:, number]
