"""The representation of an example: what the model's last linear layer reads.

A decoder's head (GPT-2, say) reads every token, and its logits are those of one of them: the representation is what it
reads there.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from attribution.batches import batch_of
from attribution.errors import MissingRequirementError
from attribution.task import Task


def head_name(task: Task, model: nn.Module) -> str:
    """Name of the module whose input is the representation: `Task.representation`, or the Linear that gives the logits.

    Raises:
        MissingRequirementError: the logits do not come out of a Linear layer and the task names none.
    """
    if task.representation is not None:
        return task.representation
    outputs: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(_keep_output(outputs, name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            logits = task.logits(model, batch_of(task, "train", [0]).to(device).inputs)
    finally:
        for handle in handles:
            handle.remove()
    for name, output in outputs.items():
        if output.shape == logits.shape and torch.equal(output, logits):
            return name
    for name, output in outputs.items():
        tokens = output.dim() == 3 and output.shape[2:] == logits.shape[1:] and len(output) == len(logits)
        if tokens and bool(_same_rows(output, logits).any(dim=1).all()):
            return name
    raise MissingRequirementError(
        "The logits of this model do not come out of a Linear layer: name the layer that reads the representation "
        "with Task(representation=...)."
    )


def _keep_output(outputs: dict[str, Tensor], name: str) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        outputs[name] = output

    return hook


def _same_rows(outputs: Tensor, logits: Tensor) -> Tensor:
    """Which tokens' outputs (B, T, C) are the logits (B, C): booleans (B, T)."""
    return (outputs == logits.unsqueeze(1)).all(dim=2)


class RepresentationRecorder:
    """Within a ``with`` block, `take` gives the representations (B, D) of the first forward pass since the last take.

    Passes that repeat it do not count: by those the general path of `GradientCapture` computes gradients, and tensors
    under vmap must not be kept.
    """

    def __init__(self, model: nn.Module, head: str) -> None:
        self._model = model
        self._head = model.get_submodule(head)
        self._read: tuple[Tensor, Tensor] | None = None
        self._seen: Tensor | None = None

    def __enter__(self) -> RepresentationRecorder:
        self._handles = [
            self._head.register_forward_hook(self._record),
            self._model.register_forward_hook(self._finish),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _record(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._seen is None and not torch._C._functorch.is_functorch_wrapped_tensor(args[0]):
            self._read = args[0].detach(), output

    def _finish(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._read is None:
            return
        (inputs, outputs), self._read = self._read, None
        logits = output if isinstance(output, Tensor) else output.logits
        if isinstance(outputs, Tensor) and inputs.dim() == outputs.dim() == logits.dim() + 1 == 3:
            token = _same_rows(outputs, logits).int().argmax(dim=1)
            inputs = inputs[torch.arange(len(inputs), device=inputs.device), token]
        self._seen = inputs.flatten(1)

    def take(self) -> Tensor:
        """Representations (B, D); the next call needs another forward pass."""
        assert self._seen is not None, "no forward pass since the last take"
        seen, self._seen = self._seen, None
        return seen
