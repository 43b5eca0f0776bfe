"""`GradientCapture`: one forward and one backward pass give the per-example gradients of a whole batch.

Forward hooks keep each layer's input and the place of its output in the graph; a single
``torch.autograd.grad`` of the summed per-example values gives the output gradients (row b of them depends on
example b alone). Gradients of the parameters themselves are never formed by autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution.capture.calls import Call, captured, one_row_each, recorder, shared
from attribution.capture.general import general_gradients
from attribution.capture.gradients import BlockGradient, DenseGradient
from attribution.capture.layers import EmbeddingLayer, Layer, layer_for
from attribution.capture.trial import misfits, trial_batch
from attribution.devices import autocast
from attribution.errors import UsageError
from attribution.finite import check_finite
from attribution.task import Inputs, Task

ValueFunction = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, C), labels (B,)) -> one value per example (B,): a loss, or a measurement."""


@dataclass
class PerExampleGradients:
    """Gradients of B examples, block by block, with the values (B,) and logits (B, C) of the same pass."""

    blocks: dict[str, BlockGradient]
    values: Tensor
    logits: Tensor

    def memory(self) -> int:
        """Bytes that the gradients take."""
        return sum(block.memory() for block in self.blocks.values())

    def dense(self) -> dict[str, Tensor]:
        """The gradients as tensors (B, *shape), by block."""
        return {name: block.dense() for name, block in self.blocks.items()}

    def dot(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """Inner products (B, Q) with Q gradients given by block (Q, *shape)."""
        return torch.stack([block.dot(vectors[name]) for name, block in self.blocks.items()]).sum(dim=0)

    def norm_squared(self) -> Tensor:
        """Squared norms (B,)."""
        return torch.stack([block.norm_squared() for block in self.blocks.values()]).sum(dim=0)


class GradientCapture:
    """Per-example gradients of a model's trained parameters.

    Parameters that no known layer owns, and parameters shared between modules, take the general path
    (`attribution.capture.general`; `fallback` names them); it is exact too, only slower. So do layers that turn out to
    be used in another way than hooks can follow (`attribution.capture.trial`; `general` names them).

    Args:
        task: says how the model is called.
        model: the model whose gradients are taken, in evaluation mode (see `batches.evaluation_copy`).
        precision: number type of the forward and backward pass, "fp32" or "bf16"; gradients come out in float32.
    """

    def __init__(self, task: Task, model: nn.Module, *, precision: str = "fp32") -> None:
        self._task = task
        self._precision = precision
        self.model = model
        self.layers: dict[str, Layer] = {}
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not trained:
            raise UsageError("No parameter of the model is trained: set requires_grad on what was trained.")
        owners = _owner_counts(model)
        covered: set[str] = set()
        for name, module in model.named_modules():
            own = [p for p in module.parameters(recurse=False) if p.requires_grad]
            if not own or any(owners[id(p)] > 1 for p in own):
                continue
            layer = layer_for(name, module)
            if layer is not None and len(layer.parameter_names) == len(own):
                self.layers[name] = layer
                covered.update(layer.parameter_names)
        self.fallback: list[str] = [name for name in trained if name not in covered]
        self._fallback_set = set(self.fallback)
        self.general: frozenset[str] = frozenset()
        self.general = self._tried(tuple(trained))

    def _tried(self, trained: tuple[str, ...]) -> frozenset[str]:
        """Names of the layers whose gradients hooks get wrong, found out on a few examples once for a task."""
        known = self._task.general_layers
        if trained in known:
            return known[trained]
        device = next(self.model.parameters()).device
        batch = trial_batch(self._task).to(device)
        logits, calls = self._forward(batch.inputs, len(batch), "fp32")
        found = misfits(self.model, self.layers, logits, calls)
        if found is None:
            return frozenset()
        known[trained] = found
        return found

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one example's gradient, by block."""
        parameters = dict(self.model.named_parameters())
        return {name: layer.shape for name, layer in self.layers.items()} | {
            name: (parameters[name].numel(),) for name in self.fallback
        }

    def gradients(self, inputs: Inputs, labels: Tensor, value: ValueFunction) -> PerExampleGradients:
        """Per-example gradients of ``value``.

        Raises:
            NumericalError: a value is NaN or infinite.
        """
        logits, calls = self._forward(inputs, len(labels), self._precision)
        with torch.enable_grad(), autocast(logits.device, self._precision):
            values = value(logits, labels)
        check_finite(values, "The model's output")
        followed = {name: layer for name, layer in self.layers.items() if name not in self.general}
        unforeseen = shared(followed, calls, len(labels))
        if unforeseen:  # with the few examples of the trial their number was that of the rows by chance
            self.general |= unforeseen
            followed = {name: layer for name, layer in followed.items() if name not in unforeseen}
        directions = None
        if self.fallback or self.general:
            (directions,) = torch.autograd.grad(values.sum(), logits, retain_graph=True)
        blocks = captured(followed, calls, values)
        if directions is not None:
            blocks |= self._general(inputs, directions)
            blocks = {name: blocks[name] for name in (*self.layers, *self.fallback)}
        return PerExampleGradients(blocks, values.detach(), logits.detach())

    def by_parameter(self, gradients: PerExampleGradients) -> dict[str, Tensor]:
        """The same gradients as tensors (B, *parameter.shape), by parameter name."""
        return self.to_parameters(gradients.dense())

    def to_parameters(self, blocks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Vectors by block (Q, *shape) as tensors (Q, *parameter.shape), by parameter name."""
        parameters = dict(self.model.named_parameters())
        result: dict[str, Tensor] = {}
        for name, block in blocks.items():
            if name in self._fallback_set:
                result[name] = block.reshape(len(block), *parameters[name].shape)
            else:
                result |= self.layers[name].split(block)
        return result

    def from_parameters(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `to_parameters`."""
        return {name: layer.join(tensors) for name, layer in self.layers.items()} | {
            name: tensors[name].flatten(1) for name in self.fallback
        }

    def _forward(self, inputs: Inputs, examples: int, precision: str) -> tuple[Tensor, dict[str, list[Call]]]:
        """Logits (B, C) of a batch, and the runs of each layer that hooks follow."""
        calls: dict[str, list[Call]] = {name: [] for name in self.layers if name not in self.general}
        handles = [
            self.layers[name].module.register_forward_hook(recorder(recorded), with_kwargs=True)
            for name, recorded in calls.items()
        ]
        handles += [
            self.layers[name].module.register_forward_pre_hook(one_row_each(examples))
            for name in calls
            if isinstance(self.layers[name], EmbeddingLayer)
        ]
        try:
            device = next(self.model.parameters()).device
            with torch.enable_grad(), autocast(device, precision):
                return self._task.logits(self.model, inputs).float(), calls
        finally:
            for handle in handles:
                handle.remove()

    def _general(self, inputs: Inputs, directions: Tensor) -> dict[str, BlockGradient]:
        """Blocks of the parameters that hooks cannot follow."""
        names = [*self.fallback, *(n for layer in self.general for n in self.layers[layer].parameter_names)]
        found = general_gradients(self._task, self.model, names, inputs, directions)
        blocks: dict[str, BlockGradient] = {
            name: DenseGradient(found[name].flatten(1)) for name in self.fallback
        }
        return blocks | {
            layer: DenseGradient(self.layers[layer].join(found)) for layer in sorted(self.general)
        }


def _owner_counts(model: nn.Module) -> dict[int, int]:
    """How many (module, name) pairs hold each parameter; more than one means it is shared or tied."""
    counts: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    return counts
