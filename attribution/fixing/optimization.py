"""The optimizer of a fix: that of the training record, from the model as training left it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution.task import Task

GradientMap = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""Gradients by parameter name -> the same, changed."""


@dataclass(frozen=True)
class Optimization:
    """How parameters move along a gradient.

    Args:
        name: ``sgd``, ``adam`` or ``adamw``; ``natural`` and ``unknown`` move like plain SGD.
        momentum: of SGD.
        weight_decay: as the optimizer means it.
        betas, epsilon: Adam's.
        moments: Adam's second moments at the end of training by parameter name, corrected for their start at zero.
            Without them the first step of Adam follows the sign of the gradient alone.
        curvature: what gradients by parameter name are replaced by before each step of SGD: λ(H + λI)⁻¹ g, with H the
            curvature of the training loss.
    """

    name: str = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    moments: Mapping[str, Tensor] | None = None
    curvature: GradientMap | None = None

    @classmethod
    def of(cls, task: Task, moments: Mapping[str, Tensor] | None = None) -> Optimization:
        """What the training record says."""
        if task.optimizer == "unknown":
            return cls("unknown")
        return cls(task.optimizer, task.momentum, task.weight_decay, task.betas, task.epsilon, moments)

    @classmethod
    def natural(cls, curvature: GradientMap) -> Optimization:
        """Gradient descent in the metric of the training loss's curvature (natural gradient, Amari 1998).

        A step then moves least where the rest of the training data would notice, which is the direction in which
        influence functions say that training on the examples moves the model.
        """
        return cls("natural", curvature=curvature)

    def mapped(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the optimizer is given for these gradients."""
        return dict(gradients) if self.curvature is None else self.curvature(gradients)

    @property
    def adaptive(self) -> bool:
        return self.name in {"adam", "adamw"}

    def start(self, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        """An optimizer of the model's trained parameters."""
        named = trained(model)
        if not self.adaptive:
            return torch.optim.SGD(
                named.values(), lr=learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
            )
        kind = torch.optim.AdamW if self.name == "adamw" else torch.optim.Adam
        optimizer = kind(
            named.values(),
            lr=learning_rate,
            betas=self.betas,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
        )
        for name, parameter in named.items():
            if self.moments is not None and name in self.moments:
                optimizer.state[parameter] = {
                    "step": torch.tensor(_LATE),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": self.moments[name].detach().to(parameter).clone(),
                }
        return optimizer

    def direction(
        self, named: Mapping[str, nn.Parameter], gradients: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """What the first step takes off the parameters per unit of learning rate, weight decay left out.

        Args:
            named: the parameters.
            gradients: what the optimizer is given for them.
        """
        if not self.adaptive:
            return dict(gradients)
        found = {}
        for name, gradient in gradients.items():
            if self.moments is not None and name in self.moments:
                root = self.moments[name].to(named[name]).sqrt()
                found[name] = (1 - self.betas[0]) * gradient / (root + self.epsilon)
            else:
                found[name] = gradient / (gradient.abs() + self.epsilon)
        return found


_LATE = 1e9
"""A step count at which Adam's corrections for the start at zero have vanished."""


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that a fix changes, by name: those that were trained."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
