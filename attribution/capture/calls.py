"""What layers did in a forward pass, and the per-example gradients that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from attribution.capture.gradients import BlockGradient, DenseGradient, joined
from attribution.capture.layers import Layer
from attribution.errors import UsageError


@dataclass
class Call:
    """One run of a layer: its input, how often that had been changed in place, and its output's place in the graph."""

    inputs: Tensor
    version: int
    edge: GradientEdge


def recorder(calls: list[Call]) -> Callable[..., None]:
    """A forward hook that notes the runs of a layer."""

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        inputs = args[0] if args else next(iter(kwargs.values()))
        if isinstance(output, Tensor) and output.requires_grad:
            # The edge, not the tensor: an in-place activation may replace the tensor's place in the graph.
            calls.append(Call(inputs.detach(), inputs._version, get_gradient_edge(output)))

    return hook


def one_row_each(examples: int) -> Callable[..., Any]:
    """Position embeddings are looked up once for the whole batch; one look-up per example keeps gradients apart."""

    def hook(module: nn.Module, args: tuple[Any, ...]) -> Any:
        ids = args[0]
        if ids.dim() < 2 or len(ids) != 1 or examples == 1:
            return None
        return (ids.expand(examples, *ids.shape[1:]), *args[1:])

    return hook


def shared(layers: Mapping[str, Layer], calls: Mapping[str, Sequence[Call]], examples: int) -> set[str]:
    """Names of the layers that got an input whose rows are not those of the examples, as far as numbers tell.

    A layer that works on positions alone may get many rows for each example: windows of a picture, or all tokens.
    """

    def fits(layer: Layer, inputs: Tensor) -> bool:
        rows = len(inputs) if inputs.dim() else 0
        return rows == examples or (layer.positional and rows > examples and rows % examples == 0)

    return {
        name for name, layer in layers.items() if not all(fits(layer, call.inputs) for call in calls[name])
    }


def captured(
    layers: Mapping[str, Layer],
    calls: Mapping[str, Sequence[Call]],
    values: Tensor,
    *,
    keep_graph: bool = False,
) -> dict[str, BlockGradient]:
    """Gradients of each of the values (B,) with respect to the blocks of these layers, none of them `shared`, by name.

    Raises:
        UsageError: a layer's input was changed after use.
    """
    used = [(name, call) for name in layers for call in calls[name]]
    output_gradients: tuple[Tensor | None, ...] = ()
    if used:
        edges = [call.edge for _, call in used]
        output_gradients = torch.autograd.grad(
            values.sum(), edges, allow_unused=True, retain_graph=keep_graph
        )
    parts: dict[str, list[BlockGradient]] = {name: [] for name in layers}
    for (name, call), output_gradient in zip(used, output_gradients, strict=True):
        if output_gradient is None:
            continue
        if call.inputs._version != call.version:
            raise UsageError(
                f"The input of layer '{name}' is changed in place after use: build the model with inplace=False."
            )
        examples = len(values)
        inputs = call.inputs.float() if call.inputs.is_floating_point() else call.inputs
        parts[name].append(
            layers[name].gradient(by_example(inputs, examples), by_example(output_gradient.float(), examples))
        )
    return {
        name: joined(found) if found else DenseGradient(values.new_zeros(len(values), *layers[name].shape))
        for name, found in parts.items()
    }


def by_example(rows: Tensor, examples: int) -> Tensor:
    """Several rows for each example, (B·k, ...), as (B, k, ...)."""
    return rows if len(rows) == examples else rows.unflatten(0, (examples, -1))
