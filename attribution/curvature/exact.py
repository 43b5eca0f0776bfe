"""The exact Gauss-Newton matrix as a dense matrix: the oracle, for models of a few thousand parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from attribution.batches import batch_count, batches
from attribution.capture import GradientCapture
from attribution.capture.capture import ValueFunction
from attribution.curvature.output_hessian import output_hessian
from attribution.errors import NumericalError
from attribution.progress import SILENT, Reporter
from attribution.task import Task


class ExactCurvature:
    """H = (1/N) Σ_i J_iᵀ A_i J_i: J_i the Jacobian of the logits of example i, A_i the Hessian of its loss in them."""

    def __init__(self, matrix: Tensor, shapes: dict[str, tuple[int, ...]]) -> None:
        self.matrix = matrix
        self._shapes = shapes
        self._factor: tuple[float, Tensor] | None = None

    def inverse(self, vectors: dict[str, Tensor], damping: float) -> dict[str, Tensor]:
        """``(H + damping·I)⁻¹ v`` by Cholesky decomposition, which is kept for the next vectors.

        Raises:
            NumericalError: the matrix is singular.
        """
        if self._factor is None or self._factor[0] != damping:
            damped = self.matrix.clone()
            damped.diagonal().add_(damping)
            factor, failed = torch.linalg.cholesky_ex(damped)
            if int(failed):
                raise NumericalError(
                    "The exact curvature cannot be inverted: use a larger damping, or ekfac."
                )
            self._factor = damping, factor
        flat = torch.cat([vectors[name].flatten(1) for name in self._shapes], dim=1).double().cpu()
        solved = torch.cholesky_solve(flat.T, self._factor[1]).T
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
    task: Task,
    capture: GradientCapture,
    *,
    device: torch.device | str = "cpu",
    batch_size: int,
    reporter: Reporter = SILENT,
) -> ExactCurvature:
    """Form H (P, P) at the parameters ``capture.model`` has now, one backward pass per class.

    It takes 8·P² bytes, and as much again once it is inverted.
    """
    shapes = capture.shapes
    dimension = sum(int(torch.tensor(shape).prod()) for shape in shapes.values())
    matrix = torch.zeros(dimension, dimension, dtype=torch.float64)
    work = batches(task, "train", batch_size)
    count = batch_count(task.size("train"), batch_size)
    for batch in reporter.track(work, count, f"Exact curvature of {dimension:,} parameters"):
        moved = batch.to(device)
        rows = []
        for number in range(len(task.class_names)):
            gradients = capture.gradients(moved.inputs, moved.labels, _logit(number))
            dense = gradients.dense()
            rows.append(torch.cat([dense[name].flatten(1) for name in shapes], dim=1).double().cpu())
        jacobian = torch.stack(rows, dim=1)  # (B, C, P)
        values, basis = torch.linalg.eigh(output_hessian(task.loss, gradients.logits, moved.labels).double())
        roots = (basis * values.clamp_min(0.0).sqrt().unsqueeze(1)).cpu()
        flat = torch.einsum("bcd,bcp->bdp", roots, jacobian).flatten(0, 1)
        matrix += flat.T @ flat
    return ExactCurvature(matrix / task.size("train"), shapes)


def _logit(number: int) -> ValueFunction:
    return lambda logits, labels: logits[:, number]
