"""Products of the Gauss-Newton matrix of the mean training loss with vectors, without forming it.

H v = (1/N) Σ_i J_iᵀ A_i J_i v with J_i the Jacobian of the logits of example i and A_i the Hessian of its loss in the
logits (for cross-entropy diag(p) - p pᵀ): a forward-mode pass for J v and a reverse pass for Jᵀ.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call, jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from attribution.batches import batches
from attribution.capture import GradientCapture
from attribution.capture.general import CallAsTask
from attribution.curvature.output_hessian import output_hessian
from attribution.task import Task

Vectors = dict[str, Tensor]
"""Q vectors by block, each (Q, *shape)."""


class GaussNewton:
    """H at the parameters that ``capture.model`` has now.

    Args:
        task: the task.
        capture: its blocks are the coordinates of the vectors.
        device, batch_size: how the training examples are passed through.
        positions: training examples that H is the mean over; all by default.
    """

    def __init__(
        self,
        task: Task,
        capture: GradientCapture,
        *,
        device: torch.device | str = "cpu",
        batch_size: int,
        positions: Sequence[int] | None = None,
    ) -> None:
        self._task = task
        self._capture = capture
        self._device = device
        self._size = task.size("train") if positions is None else len(positions)
        # Batches are read once: an iteration passes through them many times.
        self._batches = [b.to(device) for b in batches(task, "train", batch_size, positions)]
        self._wrapper = CallAsTask(task, capture.model)
        trained = {n: p.detach() for n, p in capture.model.named_parameters() if p.requires_grad}
        self._parameters = {f"model.{name}": tensor for name, tensor in trained.items()}

    def product(self, vectors: Vectors) -> Vectors:
        """H v for Q vectors."""
        by_name = self._capture.to_parameters(vectors)
        tangents = {name: by_name[name.removeprefix("model.")] for name in self._parameters}
        total = {name: torch.zeros_like(tangent) for name, tangent in tangents.items()}
        for batch in self._batches:

            def logits(parameters: dict[str, Tensor], inputs: object = batch.inputs) -> Tensor:
                outputs: Tensor = functional_call(self._wrapper, parameters, (inputs,), tie_weights=True)
                return outputs.float()

            def forward(tangent: dict[str, Tensor], logits=logits) -> Tensor:  # type: ignore[no-untyped-def]
                changes: Tensor = jvp(logits, (self._parameters,), (tangent,))[1]
                return changes

            # The fused attention kernels know no forward-mode derivative.
            with sdpa_kernel(SDPBackend.MATH):
                outputs, pull_back = vjp(logits, self._parameters)[:2]
                changes = vmap(forward)(tangents)
                weights = output_hessian(self._task.loss, outputs.detach(), batch.labels)
                (gradients,) = vmap(pull_back)(torch.einsum("bcd,qbd->qbc", weights, changes))
            for name, gradient in gradients.items():
                total[name] += gradient
        mean = {name.removeprefix("model."): tensor / self._size for name, tensor in total.items()}
        return self._capture.from_parameters(mean)
