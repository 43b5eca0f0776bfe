"""`GradientCapture`: one forward and one backward pass give the per-example gradients of a whole batch.

Forward hooks keep each layer's input and the place of its output in the graph; a single
``torch.autograd.grad`` of the summed per-example values gives the output gradients (row b of them depends on
example b alone). Gradients of the parameters themselves are never formed by autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import functional_call, grad, vmap

from attribution.capture.gradients import BlockGradient, DenseGradient, joined
from attribution.capture.layers import EmbeddingLayer, Layer, layer_for
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


@dataclass
class _Call:
    inputs: Tensor
    version: int
    edge: GradientEdge


class GradientCapture:
    """Per-example gradients of a model's trained parameters.

    Parameters that no known layer owns, and parameters shared between modules, are handled by ``torch.func``
    (`fallback` names them); it is exact too, only slower.

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
        calls: dict[str, list[_Call]] = {name: [] for name in self.layers}
        handles = [
            layer.module.register_forward_hook(_recorder(calls[name]), with_kwargs=True)
            for name, layer in self.layers.items()
        ]
        handles += [
            layer.module.register_forward_pre_hook(_one_row_each(len(labels)))
            for layer in self.layers.values()
            if isinstance(layer, EmbeddingLayer)
        ]
        try:
            device = next(self.model.parameters()).device
            with torch.enable_grad(), autocast(device, self._precision):
                logits = self._task.logits(self.model, inputs).float()
                values = value(logits, labels)
        finally:
            for handle in handles:
                handle.remove()
        check_finite(values, "The model's output")
        directions = None
        if self.fallback:
            (directions,) = torch.autograd.grad(values.sum(), logits, retain_graph=True)
        blocks = self._captured(calls, values)
        if directions is not None:
            blocks |= self._functional(inputs, directions)
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

    def _captured(self, calls: dict[str, list[_Call]], values: Tensor) -> dict[str, BlockGradient]:
        used = [(name, call) for name, recorded in calls.items() for call in recorded]
        if not used:
            output_gradients: tuple[Tensor | None, ...] = ()
        else:
            output_gradients = torch.autograd.grad(
                values.sum(), [call.edge for _, call in used], allow_unused=True
            )
        parts: dict[str, list[BlockGradient]] = {name: [] for name in self.layers}
        for (name, call), output_gradient in zip(used, output_gradients, strict=True):
            if output_gradient is None:
                continue
            if call.inputs._version != call.version:
                raise UsageError(
                    f"The input of layer '{name}' is changed in place after use: build the model with inplace=False."
                )
            if len(call.inputs) != len(values):
                raise UsageError(
                    f"Layer '{name}' gets {len(call.inputs)} rows for a batch of {len(values)} examples: "
                    "the first dimension of every layer's input must be the example."
                )
            inputs = call.inputs.float() if call.inputs.is_floating_point() else call.inputs
            parts[name].append(self.layers[name].gradient(inputs, output_gradient.float()))
        return {
            name: joined(found)
            if found
            else DenseGradient(values.new_zeros(len(values), *self.layers[name].shape))
            for name, found in parts.items()
        }

    def _functional(self, inputs: Inputs, directions: Tensor) -> dict[str, BlockGradient]:
        """Gradients of ``directions · logits`` (B, C), which are those of the values: one chain rule, any value."""
        parameters = dict(self.model.named_parameters())
        chosen = {name: parameters[name].detach() for name in self.fallback}
        wrapper = CallAsTask(self._task, self.model)

        def single(subset: dict[str, Tensor], one: Any, direction: Tensor) -> Tensor:
            batch = {k: v.unsqueeze(0) for k, v in one.items()} if isinstance(one, dict) else one.unsqueeze(0)
            renamed = {f"model.{name}": tensor for name, tensor in subset.items()}
            logits = functional_call(wrapper, renamed, (batch,), tie_weights=True)
            value: Tensor = (logits.squeeze(0) * direction).sum()
            return value

        rows = dict(inputs) if not isinstance(inputs, Tensor) else inputs
        computed = vmap(grad(single), in_dims=(None, 0, 0))(chosen, rows, directions)
        return {name: DenseGradient(tensor.detach().flatten(1)) for name, tensor in computed.items()}


class CallAsTask(nn.Module):
    """The model as a module that takes one batch and gives logits, for functional_call."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._task = task

    def forward(self, inputs: Inputs) -> Tensor:
        return self._task.logits(self.model, inputs)


def _recorder(calls: list[_Call]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        inputs = args[0] if args else next(iter(kwargs.values()))
        if output.requires_grad:
            # The edge, not the tensor: an in-place activation may replace the tensor's place in the graph.
            calls.append(_Call(inputs.detach(), inputs._version, get_gradient_edge(output)))

    return hook


def _one_row_each(examples: int) -> Callable[..., Any]:
    """Position embeddings are looked up once for the whole batch; one look-up per example keeps gradients apart."""

    def hook(module: nn.Module, args: tuple[Any, ...]) -> Any:
        ids = args[0]
        if ids.dim() < 2 or len(ids) != 1 or examples == 1:
            return None
        return (ids.expand(examples, *ids.shape[1:]), *args[1:])

    return hook


def _owner_counts(model: nn.Module) -> dict[int, int]:
    """How many (module, name) pairs hold each parameter; more than one means it is shared or tied."""
    counts: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    return counts
