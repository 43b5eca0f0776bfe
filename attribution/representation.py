"""The representation of an example: what the model's last linear layer reads."""

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
    raise MissingRequirementError(
        "The logits of this model do not come out of a Linear layer: name the layer that reads the representation "
        "with Task(representation=...)."
    )


def _keep_output(outputs: dict[str, Tensor], name: str) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        outputs[name] = output

    return hook


class RepresentationRecorder:
    """Within a ``with`` block, `take` gives the representations (B, D) of the latest forward pass.

    Passes under vmap, by which the general path of `GradientCapture` computes gradients, do not count: their tensors
    must not be kept.
    """

    def __init__(self, model: nn.Module, head: str) -> None:
        self._module = model.get_submodule(head)
        self._seen: Tensor | None = None

    def __enter__(self) -> RepresentationRecorder:
        self._handle = self._module.register_forward_pre_hook(self._record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.remove()

    def _record(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if not torch._C._functorch.is_functorch_wrapped_tensor(args[0]):
            self._seen = args[0].detach().flatten(1)

    def take(self) -> Tensor:
        """Representations (B, D); the next call needs another forward pass."""
        assert self._seen is not None, "no forward pass since the last take"
        seen, self._seen = self._seen, None
        return seen
