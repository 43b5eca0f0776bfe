"""Leaving out what no logit reads.

A classifier that reads one token (BERT's and ViT's first one) runs its last layer on all of them, although of the
others nothing but keys and values is used. Their share of the other linear maps, two thirds of such a layer, is left
out: forward and, as its gradient is zero, backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attribution.capture.trial import trial_batch
from attribution.task import Inputs, Task

_SAME = 1e-5
"""Largest relative difference of logits, and of a parameter's gradient, with and without the other positions."""


Forward = Callable[[Tensor], Tensor]


class FirstPosition:
    """Linear layers of whose outputs (B, T, D) no logit reads more than the first position.

    Args:
        names: of the layers; `first_position` finds them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    @contextmanager
    def alone(self, model: nn.Module) -> Iterator[None]:
        """Within the block these layers compute the first position and give zeros for the others."""
        with _changed(model, self.names, _first_only):
            yield


def first_position(task: Task, model: nn.Module) -> FirstPosition | None:
    """The layers of a model that need to compute no more than the first position; None where there are none.

    That is not assumed but tried on a few examples: with NaN at every other position the logits have to come out the
    same, and without those positions the gradients, too.

    Args:
        model: in evaluation mode, on any device.
    """
    batch = trial_batch(task).to(next(model.parameters()).device)
    logits, outputs = _outputs(task, model, batch.inputs)
    names = _candidates(logits, outputs)
    if not names or _representation_has_positions(task, model, batch.inputs):
        return None
    with torch.no_grad(), _changed(model, names, _poisoned):
        if not _close(task.logits(model, batch.inputs), logits):
            return None
    found = FirstPosition(names)
    with torch.enable_grad(), found.alone(model):
        shorter = task.logits(model, batch.inputs)
        gradients = _gradients(model, shorter)
    same = _close(shorter, logits) and _close(gradients, _gradients(model, logits))
    return found if same else None


def _outputs(task: Task, model: nn.Module, inputs: Inputs) -> tuple[Tensor, dict[str, list[Tensor]]]:
    """Logits, and what each linear layer gave in its calls, in the graph."""
    outputs: dict[str, list[Tensor]] = {}
    handles = []
    for name, module in model.named_modules():
        if type(module) is nn.Linear and "forward" not in vars(module):

            def keep(module: nn.Module, args: Any, output: Tensor, name: str = name) -> None:
                outputs.setdefault(name, []).append(output)

            handles.append(module.register_forward_hook(keep))
    try:
        with torch.enable_grad():
            return task.logits(model, inputs), outputs
    finally:
        for handle in handles:
            handle.remove()


def _representation_has_positions(task: Task, model: nn.Module, inputs: Inputs) -> bool:
    """Whether the layer that the task names for its representations is given every position: then all are needed."""
    if task.representation is None:
        return False
    read: list[int] = []
    handle = model.get_submodule(task.representation).register_forward_pre_hook(
        lambda module, args: read.append(args[0].dim())
    )
    try:
        with torch.no_grad():
            task.logits(model, inputs)
    finally:
        handle.remove()
    return max(read, default=0) > 2


def _candidates(logits: Tensor, outputs: dict[str, list[Tensor]]) -> tuple[str, ...]:
    """Layers whose gradient is zero everywhere but at the first position."""
    once = {
        name: calls[0]
        for name, calls in outputs.items()
        if len(calls) == 1 and calls[0].dim() == 3 and calls[0].shape[1] > 1 and calls[0].requires_grad
    }
    if not once or not logits.requires_grad:
        return ()
    gradients = torch.autograd.grad(
        _mixture(logits), list(once.values()), allow_unused=True, retain_graph=True
    )
    return tuple(
        name
        for name, gradient in zip(once, gradients, strict=True)
        if gradient is not None and bool(gradient[:, 0].any()) and not bool(gradient[:, 1:].any())
    )


def _mixture(logits: Tensor) -> Tensor:
    """A number that every logit has a part in."""
    generator = torch.Generator().manual_seed(0)
    return (logits * torch.randn(logits.shape, generator=generator).to(logits)).sum()


def _gradients(model: nn.Module, logits: Tensor) -> Tensor:
    """Of the mixture by all trained parameters, in one row."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(_mixture(logits), parameters, allow_unused=True, retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in found if gradient is not None])


def _close(found: Tensor, expected: Tensor) -> bool:
    """Whether all differences are within rounding; NaN and infinity are not."""
    if found.shape != expected.shape:
        return False
    largest = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return bool((found - expected).abs().max() <= _SAME * largest)


def _poisoned(forward: Forward, hidden: Tensor) -> Tensor:
    output = forward(hidden).clone()
    output[:, 1:] = torch.nan
    return output


def _first_only(forward: Forward, hidden: Tensor) -> Tensor:
    if hidden.dim() != 3 or hidden.shape[1] == 1:
        return forward(hidden)
    return nn.functional.pad(forward(hidden[:, :1]), (0, 0, 0, hidden.shape[1] - 1))


@contextmanager
def _changed(
    model: nn.Module, names: Sequence[str], change: Callable[[Forward, Tensor], Tensor]
) -> Iterator[None]:
    """Within the block each layer does what ``change`` makes of its forward and its input."""
    modules = [model.get_submodule(name) for name in names]
    for module in modules:
        module.__dict__["forward"] = partial(change, module.forward)
    try:
        yield
    finally:
        for module in modules:
            del module.__dict__["forward"]
