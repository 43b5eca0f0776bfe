"""Keeping a convolutional network's numbers in the order that processors pass through fastest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attribution.batches import batch_of
from attribution.task import Inputs, Task

_SAME = 1e-4
"""Largest relative difference of logits between the two orders."""


def use_fast_layout(task: Task, model: nn.Module) -> None:
    """Put the weights of 2-D convolutions channels last, where the model allows it; nothing else changes.

    Activations follow their weights. On a processor, forward and backward passes of small convolutional networks take
    two thirds of the time so, and patches of images lie in longer runs. Models that look at how their tensors lie in
    memory, with ``view`` say, fail or differ on two examples: they keep the usual order.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters or parameters[0].device.type != "cpu":
        return
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return
    inputs = batch_of(task, "train", range(min(2, task.size("train")))).inputs
    try:
        usual = _logits(task, model, inputs, parameters)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found = _logits(task, model, inputs, parameters)
        same = bool((found - usual).abs().max() <= _SAME * usual.abs().max())
    except RuntimeError:
        same = False
    if not same:
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _logits(task: Task, model: nn.Module, inputs: Inputs, parameters: list[nn.Parameter]) -> Tensor:
    """Logits of a forward pass whose backward pass works too."""
    with torch.enable_grad():
        logits = task.logits(model, inputs)
        torch.autograd.grad(logits.sum(), parameters, allow_unused=True)
    return logits.detach()
