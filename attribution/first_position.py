"""Leaving out what no logit reads.

A classifier that reads one token (BERT's and ViT's first one) runs its last layer on all of them, although of the
others nothing but keys and values is used. Their share of the other linear maps, two thirds of such a layer, is left
out: forward and, as its gradient is zero, backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from attribution.batches import Batch, batch_of
from attribution.task import Inputs, Task

_SAME = 1e-5
"""Largest relative difference of logits, and of gradients, with and without the other positions."""

_SEEN, _EXAMPLES = 256, 3
"""Of so many texts, from all over the training data, the longest ones are tried."""


class FirstPosition:
    """Linear layers of whose outputs (B, T, D) no logit reads more than the first position.

    Args:
        names: of the layers; `first_position` finds them.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = tuple(names)

    @contextmanager
    def alone(self, model: nn.Module) -> Iterator[None]:
        """Within the block these layers compute the first position and give zeros for the others.

        Only in evaluation mode: in training, BatchNorm would take the zeros for data.
        """
        if model.training or not self.names:
            yield
            return
        with _changed(model, self.names, _first_only):
            yield


def first_position(task: Task, model: nn.Module) -> FirstPosition:
    """The layers of a model that need to compute no more than the first position; of many models there are none.

    That is not assumed but tried on a few examples: with NaN at every other position the logits have to come out the
    same, and without those positions the gradients, too. A model that fails on that keeps all its positions. Only
    texts and pictures are tried: what a model of other sequences reads may depend on how long each of them is.

    Args:
        task: asks no layer to be left out yet.
        model: in evaluation mode, on any device.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        return FirstPosition()
    try:
        batch = _trial(task)
        if batch is not None:
            return FirstPosition(_unread(task, model, batch.to(parameters[0].device), parameters))
    except Exception:  # whatever a model does with numbers that it never saw, it loses nothing but time
        pass
    return FirstPosition()


def _trial(task: Task) -> Batch | None:
    """The longest of some texts, or a few pictures; None where the inputs are neither."""
    dataset, size = cast(Any, task.dataset("train")), task.size("train")
    some = torch.linspace(0, size - 1, min(size, _SEEN)).long().tolist()
    first = dataset[some[0]][0]
    if isinstance(first, Tensor):
        return batch_of(task, "train", some[:_EXAMPLES]) if first.dim() == 3 else None
    if not isinstance(first, Mapping):
        return None
    if "attention_mask" in first:
        attended = {position: int(dataset[position][0]["attention_mask"].sum()) for position in some}
        longest = sorted(some, key=lambda position: -attended[position])[:_EXAMPLES]
        return batch_of(task, "train", longest) if attended[longest[-1]] > 1 else None
    return batch_of(task, "train", some[:_EXAMPLES]) if "pixel_values" in first else None


def _unread(
    task: Task, model: nn.Module, batch: Batch, parameters: Sequence[nn.Parameter]
) -> tuple[str, ...]:
    """Names of the layers that pass the trial, all together."""
    with torch.enable_grad():  # without gradients torch's own encoder layers would not call their linear ones
        logits, outputs = _outputs(task, model, batch.inputs)
        names = _candidates(logits, outputs)
        if not names or _representation_has_positions(task, model, batch.inputs):
            return ()
        with _changed(model, names, _poisoned):
            if not _close(task.logits(model, batch.inputs).detach(), logits.detach()):
                return ()
        expected = _gradients(parameters, logits)
        with FirstPosition(names).alone(model):
            shorter = task.logits(model, batch.inputs)
            found = _gradients(parameters, shorter)
    return names if _close(shorter.detach(), logits.detach()) and _same_gradients(found, expected) else ()


def _outputs(task: Task, model: nn.Module, inputs: Inputs) -> tuple[Tensor, dict[str, list[Tensor | None]]]:
    """Logits, and what each linear layer gave in its calls, in the graph; None for a call of another form."""
    outputs: dict[str, list[Tensor | None]] = {}
    handles = []
    for name, module in model.named_modules():
        if type(module) is nn.Linear and "forward" not in vars(module):

            def keep(
                module: nn.Module,
                args: tuple[Any, ...],
                more: dict[str, Any],
                output: Tensor,
                name: str = name,
            ) -> None:
                outputs.setdefault(name, []).append(output if len(args) == 1 and not more else None)

            handles.append(module.register_forward_hook(keep, with_kwargs=True))
    try:
        return task.logits(model, inputs), outputs
    finally:
        for handle in handles:
            handle.remove()


def _candidates(logits: Tensor, outputs: Mapping[str, Sequence[Tensor | None]]) -> tuple[str, ...]:
    """Layers whose gradient is zero everywhere but at the first position."""
    once = {
        name: calls[0]
        for name, calls in outputs.items()
        if len(calls) == 1
        and calls[0] is not None
        and calls[0].dim() == 3
        and calls[0].shape[1] > 1
        and calls[0].requires_grad
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


def _representation_has_positions(task: Task, model: nn.Module, inputs: Inputs) -> bool:
    """Whether the layer that the task names for its representations is given every position: then all are needed."""
    if task.representation is None:
        return False
    read: list[int] = []
    handle = model.get_submodule(task.representation).register_forward_pre_hook(
        lambda module, args: read.append(args[0].dim())
    )
    try:
        task.logits(model, inputs)
    finally:
        handle.remove()
    return max(read, default=0) > 2


def _mixture(logits: Tensor) -> Tensor:
    """A number that every logit has a part in."""
    generator = torch.Generator().manual_seed(0)
    return (logits * torch.randn(logits.shape, generator=generator).to(logits)).sum()


def _gradients(parameters: Sequence[nn.Parameter], logits: Tensor) -> tuple[Tensor | None, ...]:
    """Of the mixture by each parameter."""
    return torch.autograd.grad(_mixture(logits), parameters, allow_unused=True, retain_graph=True)


def _same_gradients(found: Sequence[Tensor | None], expected: Sequence[Tensor | None]) -> bool:
    """Up to rounding, relative to the largest of all."""
    largest = max((float(g.abs().max()) for g in expected if g is not None), default=0.0)
    return all(
        (mine is None and theirs is None)
        or (mine is not None and theirs is not None and bool((mine - theirs).abs().max() <= _SAME * largest))
        for mine, theirs in zip(found, expected, strict=True)
    )


def _close(found: Tensor, expected: Tensor) -> bool:
    """Whether all differences are within rounding; NaN and infinity are not."""
    return bool((found - expected).abs().max() <= _SAME * expected.abs().max())


Forward = Callable[..., Tensor]


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
    before = [vars(module).get("forward") for module in modules]
    for module in modules:
        module.__dict__["forward"] = _Changed(module.forward, change)
    try:
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            if own is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = own


class _Changed:
    """A layer's forward, changed; a call of another form than with one tensor goes through as it is."""

    def __init__(self, forward: Forward, change: Callable[[Forward, Tensor], Tensor]) -> None:
        self._forward, self._change = forward, change

    def __call__(self, *args: Any, **more: Any) -> Tensor:
        if len(args) == 1 and not more:
            return self._change(self._forward, args[0])
        return self._forward(*args, **more)
