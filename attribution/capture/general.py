"""Per-example gradients of any parameters: exact for every model that treats its examples apart, and slower.

`torch.func` repeats the forward and backward pass for all examples at once; a model that it cannot follow (one that
looks into its numbers to decide what to do) is run for one example after the other.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from attribution.task import Inputs, Task


class CallAsTask(nn.Module):
    """The model as a module that takes one batch and gives logits, for functional_call."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._task = task

    def forward(self, inputs: Inputs) -> Tensor:
        return self._task.logits(self.model, inputs)


def general_gradients(
    task: Task, model: nn.Module, names: Sequence[str], inputs: Inputs, directions: Tensor
) -> dict[str, Tensor]:
    """Gradients (B, *shape) of ``directions · logits`` (B, C), by parameter name.

    With the gradient of a value for directions they are those of the value: one chain rule, any value.
    """
    try:
        return _all_at_once(task, model, names, inputs, directions)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # whatever is wrong with the model itself is raised again by the plain calls
        return _one_by_one(task, model, names, inputs, directions)


def _all_at_once(
    task: Task, model: nn.Module, names: Sequence[str], inputs: Inputs, directions: Tensor
) -> dict[str, Tensor]:
    parameters = dict(model.named_parameters())
    chosen = {name: parameters[name].detach() for name in names}
    wrapper = CallAsTask(task, model)

    def single(subset: dict[str, Tensor], one: Any, direction: Tensor) -> Tensor:
        batch = {k: v.unsqueeze(0) for k, v in one.items()} if isinstance(one, dict) else one.unsqueeze(0)
        renamed = {f"model.{name}": tensor for name, tensor in subset.items()}
        logits = functional_call(wrapper, renamed, (batch,), tie_weights=True)
        value: Tensor = (logits.squeeze(0) * direction).sum()
        return value

    rows = dict(inputs) if not isinstance(inputs, Tensor) else inputs
    # Other kernels of attention have no rule for many examples at once, and would be run in a loop. So are a few
    # operations more, which is slower, and no more need to be said.
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        computed = vmap(grad(single), in_dims=(None, 0, 0))(chosen, rows, directions)
    return {name: tensor.detach() for name, tensor in computed.items()}


def _one_by_one(
    task: Task, model: nn.Module, names: Sequence[str], inputs: Inputs, directions: Tensor
) -> dict[str, Tensor]:
    parameters = dict(model.named_parameters())
    chosen = [parameters[name] for name in names]
    result = {name: p.new_empty(len(directions), *p.shape) for name, p in zip(names, chosen, strict=True)}
    for row in range(len(directions)):
        one = (
            inputs[row : row + 1]
            if isinstance(inputs, Tensor)
            else {name: tensor[row : row + 1] for name, tensor in inputs.items()}
        )
        with torch.enable_grad():
            value = (task.logits(model, one) * directions[row : row + 1]).sum()
        found = torch.autograd.grad(value, chosen, allow_unused=True)
        for name, gradient in zip(names, found, strict=True):
            result[name][row] = 0.0 if gradient is None else gradient
    return result
