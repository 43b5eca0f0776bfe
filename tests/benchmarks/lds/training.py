"""Training many small MLPs at once, as one batched computation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .data import Data
from .settings import Setting


@dataclass(frozen=True)
class Snapshot:
    """Parameters of all models after ``step`` steps: weight (models, O, I) and bias (models, O) of each layer."""

    step: int
    learning_rate: float
    parameters: list[Tensor]


def forward(parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """Logits (models, B, C) of many MLPs, each on its own inputs (models, B, D)."""
    hidden = inputs
    for layer in range(len(parameters) // 2):
        weight, bias = parameters[2 * layer], parameters[2 * layer + 1]
        if layer:
            hidden = hidden.relu()
        hidden = torch.baddbmm(bias.unsqueeze(1), hidden, weight.transpose(1, 2))
    return hidden


def train_many(
    setting: Setting, data: Data, subsets: Tensor, seed: int, keep: Sequence[int] = ()
) -> tuple[list[Tensor], list[Snapshot]]:
    """Train one model per row of ``subsets`` (models, n): SGD from its own initial weights in its own order.

    Returns:
        The final parameters, and snapshots at the kept steps.
    """
    generator = torch.Generator().manual_seed(seed)
    models, size = subsets.shape
    parameters = _initial(setting, models, generator)
    velocities = [torch.zeros_like(p) for p in parameters]
    rates, snapshots, step = setting.rates(size), [], 0
    for _ in range(setting.epochs):
        order = torch.argsort(torch.rand(models, size, generator=generator), dim=1)
        for start in range(0, size - setting.batch + 1, setting.batch):
            rows = torch.gather(subsets, 1, order[:, start : start + setting.batch])
            logits = forward(parameters, data.inputs[rows])
            loss = functional.cross_entropy(
                logits.flatten(0, 1), data.labels[rows].flatten(), reduction="sum"
            )
            gradients = torch.autograd.grad(loss / setting.batch, parameters)
            with torch.no_grad():
                for parameter, velocity, gradient in zip(parameters, velocities, gradients, strict=True):
                    velocity.mul_(setting.momentum).add_(gradient).add_(parameter, alpha=setting.weight_decay)
                    parameter.sub_(velocity, alpha=rates[step])
            step += 1
            if step in keep:
                snapshots.append(Snapshot(step, rates[step - 1], [p.detach().clone() for p in parameters]))
    return [p.detach() for p in parameters], snapshots


def _initial(setting: Setting, models: int, generator: torch.Generator) -> list[Tensor]:
    """Uniform in ±1/√inputs, as ``nn.Linear`` does."""
    parameters: list[Tensor] = []
    for inputs, outputs in setting.layers:
        for shape in ((models, outputs, inputs), (models, outputs)):
            uniform = 2 * torch.rand(shape, generator=generator) - 1
            parameters.append((uniform / inputs**0.5).requires_grad_())
    return parameters
