"""(H + λI)⁻¹ v in closed form, the mean of inverses taken for the inverse of the mean (Kwon et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.capture import GradientCapture, PerExampleGradients, gradient_stream
from attribution.curvature.gauss_newton import Vectors
from attribution.progress import SILENT, Reporter
from attribution.task import Task

SHARE_OF_MEAN = 0.1
"""Damping of a block over the mean square of its gradients' entries (Kwon et al. 2023)."""


@dataclass
class DataInf:
    """H is the mean of g_i g_iᵀ, block by block, and each of them alone is inverted by Sherman-Morrison:

        (1/n) Σ_i (g_i g_iᵀ + λI)⁻¹ v = (1/n) Σ_i (v - (v · g_i) / (λ + ‖g_i‖²) g_i) / λ

    Args:
        task, capture: whose training gradients g_i are taken, at the parameters that ``capture.model`` has now.
        device, batch_size: how.
        positions: the n training examples of the mean; all by default.
    """

    task: Task
    capture: GradientCapture
    device: torch.device | str = "cpu"
    batch_size: int = 128
    positions: Sequence[int] | None = None
    reporter: Reporter = SILENT

    def inverse(self, vectors: Vectors, damping: float) -> Vectors:
        """The formula above for Q vectors by block (Q, *shape).

        ``damping`` is left aside: the formula is good only where λ is not small beside ‖g_i‖² over the dimension, so
        the paper ties the damping of each block to that.
        """
        size = self.task.size("train") if self.positions is None else len(self.positions)
        squares = self._mean_squares(size)
        removed = {name: torch.zeros_like(vector) for name, vector in vectors.items()}
        for gradients in self._gradients(self.reporter.share(0.5, 1.0)):
            for name, block in gradients.blocks.items():
                shares = block.dot(vectors[name]) / (squares[name] + block.norm_squared()).unsqueeze(1)
                removed[name] += block.combine(shares)
        return {name: (vectors[name] - removed[name] / size) / squares[name] for name in vectors}

    def _mean_squares(self, size: int) -> dict[str, Tensor]:
        """The damping of each block."""
        totals: dict[str, Tensor] = {}
        for gradients in self._gradients(self.reporter.share(0.0, 0.5)):
            for name, block in gradients.blocks.items():
                norms = block.norm_squared().sum()
                totals[name] = norms if name not in totals else totals[name] + norms
        entries = {name: torch.Size(shape).numel() for name, shape in self.capture.shapes.items()}
        return {
            name: (SHARE_OF_MEAN * total / size / entries[name]).clamp_min(1e-30)
            for name, total in totals.items()
        }

    def _gradients(self, reporter: Reporter) -> Iterator[PerExampleGradients]:
        stream = gradient_stream(
            self.task,
            self.capture,
            lambda positions: self.task.loss,
            positions=self.positions,
            batch_size=self.batch_size,
            device=self.device,
            reporter=reporter,
            message="DataInf",
        )
        return (gradients for _, gradients in stream)
