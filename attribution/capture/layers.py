"""How each kind of layer turns its input and its output-gradient into per-example parameter gradients.

One class per kind. `layer_for` finds the class for a module; a module of an unknown kind gets None, and the
capture then falls back to torch.func for its parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution.capture.gradients import BlockGradient, DenseGradient, EmbeddingGradient, FactoredGradient


class Layer:
    """Base: a module whose trained parameters form one block.

    Args:
        name: the module's name in the model.
        module: the module.
        weight, bias: whether that parameter is trained.
    """

    kinds: ClassVar[tuple[type[nn.Module], ...]] = ()

    @property
    def positional(self) -> bool:
        """Whether it does the same at every position, so that all dimensions but the last may be positions."""
        return False

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name = name
        self.module = module
        self.weight = _trained(module, "weight")
        self.bias = _trained(module, "bias")

    @property
    def parameter_names(self) -> list[str]:
        """Full names of the trained parameters in this block."""
        prefix = f"{self.name}." if self.name else ""
        return [prefix + own for own, used in (("weight", self.weight), ("bias", self.bias)) if used]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example's block gradient: (O, I) or (P,)."""
        raise NotImplementedError

    def gradient(self, inputs: Tensor, output_gradient: Tensor) -> BlockGradient:
        """Per-example gradients from the module's input and the gradient of its output (both B first)."""
        raise NotImplementedError

    def split(self, block: Tensor) -> dict[str, Tensor]:
        """Block gradients (B, *shape) as gradients of the parameters, by full name: (B, *parameter.shape)."""
        raise NotImplementedError

    def join(self, tensors: dict[str, Tensor]) -> Tensor:
        """The inverse of `split`; names of other blocks are ignored."""
        raise NotImplementedError


def _trained(module: nn.Module, name: str) -> bool:
    parameter = getattr(module, name, None)
    return isinstance(parameter, nn.Parameter) and parameter.requires_grad


class _MatrixLayer(Layer):
    """A layer with weight (O, I) and an optional bias, which becomes one more column."""

    def right_factor(self, rows: Tensor) -> Tensor:
        """What the trained parameters are multiplied with: rows (B, T, inputs) and a 1 for the bias."""
        parts = [rows] if self.weight else []
        if self.bias:
            parts.append(rows.new_ones(*rows.shape[:-1], 1))
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]

    def _width(self, columns: int) -> int:
        return (columns if self.weight else 0) + int(self.bias)

    def _weight_gradient(self, block: Tensor) -> Tensor:
        columns = block[..., :-1] if self.bias else block
        return columns.reshape(len(block), *self._parameter("weight").shape)

    def _weight_columns(self, weight: Tensor) -> Tensor:
        """The inverse of `_weight_gradient`: (B, *weight.shape) as columns (B, O, I)."""
        return weight.flatten(2)

    def join(self, tensors: dict[str, Tensor]) -> Tensor:
        parts = []
        for name in self.parameter_names:
            tensor = tensors[name]
            parts.append(tensor.unsqueeze(2) if name.endswith("bias") else self._weight_columns(tensor))
        return torch.cat(parts, dim=2)

    def _parameter(self, name: str) -> Tensor:
        parameter = getattr(self.module, name)
        assert isinstance(parameter, Tensor)
        return parameter

    def split(self, block: Tensor) -> dict[str, Tensor]:
        parts = {}
        for full_name in self.parameter_names:
            is_bias = full_name.endswith("bias")
            parts[full_name] = block[..., -1] if is_bias else self._weight_gradient(block)
        return parts


class LinearLayer(_MatrixLayer):
    """``nn.Linear``: left = output gradient, right = input (and a 1 for the bias)."""

    kinds = (nn.Linear,)

    @property
    def positional(self) -> bool:
        return True

    @property
    def shape(self) -> tuple[int, ...]:
        outputs, inputs = self._parameter("weight").shape
        return outputs, self._width(inputs)

    def gradient(self, inputs: Tensor, output_gradient: Tensor) -> BlockGradient:
        return FactoredGradient(_positions(output_gradient), self.right_factor(_positions(inputs)))


class TransposedLinearLayer(_MatrixLayer):
    """transformers' ``Conv1D`` (GPT-2): a linear layer that stores its weight as (inputs, outputs)."""

    @property
    def positional(self) -> bool:
        return True

    @property
    def shape(self) -> tuple[int, ...]:
        inputs, outputs = self._parameter("weight").shape
        return outputs, self._width(inputs)

    def gradient(self, inputs: Tensor, output_gradient: Tensor) -> BlockGradient:
        return FactoredGradient(_positions(output_gradient), self.right_factor(_positions(inputs)))

    def _weight_gradient(self, block: Tensor) -> Tensor:
        return (block[..., :-1] if self.bias else block).transpose(1, 2)

    def _weight_columns(self, weight: Tensor) -> Tensor:
        return weight.transpose(1, 2)


class ConvolutionLayer(_MatrixLayer):
    """``nn.Conv1d`` and ``nn.Conv2d`` without groups: a linear layer over unfolded patches.

    The columns of a block run over the places of the kernel first and over its input channels within them.
    """

    kinds = (nn.Conv1d, nn.Conv2d)

    @property
    def shape(self) -> tuple[int, ...]:
        weight = self._parameter("weight")
        return weight.shape[0], self._width(weight[0].numel())

    def gradient(self, inputs: Tensor, output_gradient: Tensor) -> BlockGradient:
        left = output_gradient.flatten(2).transpose(1, 2)
        return FactoredGradient(left, Patches(self, inputs), padded=False)

    def _weight_gradient(self, block: Tensor) -> Tensor:
        outputs, channels, *kernel = self._parameter("weight").shape
        columns = block[..., :-1] if self.bias else block
        return columns.reshape(len(block), outputs, *kernel, channels).movedim(-1, 2)

    def _weight_columns(self, weight: Tensor) -> Tensor:
        return weight.movedim(2, -1).flatten(2)


@dataclass(frozen=True)
class Patches:
    """The right factor of a convolution, unfolded from its input (B, C, ...) when it is looked at."""

    layer: ConvolutionLayer
    inputs: Tensor

    @property
    def columns(self) -> int:
        return self.layer.shape[1]

    @property
    def nbytes(self) -> int:
        return self.inputs.nbytes

    def unfolded(self) -> Tensor:
        return self.layer.right_factor(unfolded(self.layer.module, self.inputs))

    def examples(self, rows: Tensor) -> Patches:
        return Patches(self.layer, self.inputs[rows])


class GroupedConvolutionLayer(ConvolutionLayer):
    """Convolution with groups: each group of outputs sees its own inputs, so gradients are formed at once."""

    def gradient(self, inputs: Tensor, output_gradient: Tensor) -> BlockGradient:
        groups = self.module.groups
        assert isinstance(groups, int)
        patches = unfolded(self.module, inputs)
        left = output_gradient.flatten(2).unflatten(1, (groups, -1))  # (B, G, O/G, T)
        places = self._parameter("weight")[0, 0].numel()
        right = patches.unflatten(2, (places, groups, -1))  # (B, T, K, G, C/G)
        weight = torch.einsum("bgot,btkgc->bgokc", left, right).flatten(3).flatten(1, 2)
        parts = [weight] if self.weight else []
        if self.bias:
            parts.append(output_gradient.flatten(2).sum(dim=2).unsqueeze(2))
        return DenseGradient(torch.cat(parts, dim=2))


class EmbeddingLayer(Layer):
    """``nn.Embedding``: the rows that were looked up receive the output gradient."""

    kinds = (nn.Embedding,)

    @property
    def shape(self) -> tuple[int, ...]:
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        return tuple(weight.shape)

    def gradient(self, inputs: Tensor, output_gradient: Tensor) -> BlockGradient:
        ids = inputs.flatten(1) if inputs.dim() > 1 else inputs.unsqueeze(1)
        right = output_gradient.reshape(len(ids), -1, output_gradient.shape[-1])
        padding = self.module.padding_idx
        if isinstance(padding, int):
            right = right * torch.ne(ids, padding).unsqueeze(-1)
        return EmbeddingGradient(ids, right, self.shape[0])

    def split(self, block: Tensor) -> dict[str, Tensor]:
        return {self.parameter_names[0]: block}

    def join(self, tensors: dict[str, Tensor]) -> Tensor:
        return tensors[self.parameter_names[0]]


class NormalizationLayer(Layer):
    """LayerNorm, GroupNorm, BatchNorm (evaluation mode): elementwise scale and shift of a normalised input."""

    kinds = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d)

    @property
    def positional(self) -> bool:
        return isinstance(self.module, nn.LayerNorm)

    @property
    def shape(self) -> tuple[int, ...]:
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        return (weight.numel() * (int(self.weight) + int(self.bias)),)

    def gradient(self, inputs: Tensor, output_gradient: Tensor) -> BlockGradient:
        parts = []
        if self.weight:
            parts.append(self._reduced(output_gradient * self._normalized(inputs)))
        if self.bias:
            parts.append(self._reduced(output_gradient))
        return DenseGradient(torch.cat(parts, dim=1))

    def _normalized(self, inputs: Tensor) -> Tensor:
        module = self.module
        if isinstance(module, nn.LayerNorm):
            return functional.layer_norm(inputs, module.normalized_shape, eps=module.eps)
        if isinstance(module, nn.GroupNorm):
            return functional.group_norm(inputs, module.num_groups, eps=module.eps)
        assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        return functional.batch_norm(inputs, module.running_mean, module.running_var, eps=module.eps)

    def _reduced(self, values: Tensor) -> Tensor:
        """Sum over positions: (B, channels)."""
        if isinstance(self.module, nn.LayerNorm):
            kept = len(self.module.normalized_shape)
            return values.reshape(len(values), -1, *values.shape[-kept:]).sum(dim=1).flatten(1)
        return values.flatten(2).sum(dim=2) if values.dim() > 2 else values

    def split(self, block: Tensor) -> dict[str, Tensor]:
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        pieces = block.split(weight.numel(), dim=1)
        return {
            name: piece.reshape(len(block), *weight.shape)
            for name, piece in zip(self.parameter_names, pieces, strict=True)
        }

    def join(self, tensors: dict[str, Tensor]) -> Tensor:
        return torch.cat([tensors[name].flatten(1) for name in self.parameter_names], dim=1)


class LastDimensionNorm(NormalizationLayer):
    """Normalisation over the last dimension, of transformers' own classes: LayerNorm (DeBERTa) or root mean square."""

    @property
    def positional(self) -> bool:
        return True

    def _normalized(self, inputs: Tensor) -> Tensor:
        module = self.module
        epsilon = getattr(module, "variance_epsilon", None) or getattr(module, "eps", None)
        size = inputs.shape[-1:]
        if isinstance(getattr(module, "bias", None), Tensor):
            return functional.layer_norm(inputs, size, eps=float(epsilon or 0.0))
        return functional.rms_norm(inputs, size, eps=float(epsilon or 0.0))

    def _reduced(self, values: Tensor) -> Tensor:
        return values.reshape(len(values), -1, values.shape[-1]).sum(dim=1)


class ChannelsFirstNorm(NormalizationLayer):
    """A LayerNorm over the channels of pictures (B, C, H, W), as ConvNeXt has it."""

    @property
    def positional(self) -> bool:
        return False

    def gradient(self, inputs: Tensor, output_gradient: Tensor) -> BlockGradient:
        return super().gradient(inputs.movedim(1, -1), output_gradient.movedim(1, -1))


def layer_for(name: str, module: nn.Module) -> Layer | None:
    """The layer class that seems to know this module, or None; `attribution.capture.trial` says whether it does."""
    class_name = type(module).__name__
    if class_name == "Conv1D" and hasattr(module, "nf"):
        return TransposedLinearLayer(name, module)
    if isinstance(module, nn.LayerNorm) and hasattr(module, "data_format"):
        first = module.data_format == "channels_first"
        return ChannelsFirstNorm(name, module) if first else NormalizationLayer(name, module)
    named = class_name.endswith(("RMSNorm", "LayerNorm")) and not isinstance(module, nn.LayerNorm)
    if named and isinstance(weight := getattr(module, "weight", None), nn.Parameter) and weight.dim() == 1:
        return LastDimensionNorm(name, module)
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups > 1:
        return GroupedConvolutionLayer(name, module)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is None:
        return None  # without running statistics the examples of a batch are not independent
    for kind in (LinearLayer, ConvolutionLayer, EmbeddingLayer, NormalizationLayer):
        # Exact types only: a subclass may compute something else in its forward.
        if type(module) in kind.kinds:
            return kind(name, module)
    return None


def unfolded(module: nn.Module, inputs: Tensor) -> Tensor:
    """The patches a convolution multiplies with its weight, channels innermost: (B, T, k·C)."""
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
    padding = module._reversed_padding_repeated_twice  # explicit sizes also for "same" and "valid"
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    # With the channels last, a patch is a few long runs of memory: several times faster than functional.unfold.
    padded = functional.pad(inputs, list(padding), mode=mode).movedim(1, -1).contiguous()
    for axis in range(inputs.dim() - 2):
        span = module.dilation[axis] * (module.kernel_size[axis] - 1) + 1
        padded = padded.unfold(1 + axis, span, module.stride[axis])[..., :: module.dilation[axis]]
    # (B, H', W', C, kH, kW) -> (B, H', W', kH, kW, C)
    channels = inputs.dim() - 1
    return padded.movedim(channels, -1).flatten(channels).flatten(1, -2)


def _positions(values: Tensor) -> Tensor:
    """(B, D) or (B, ..., D) as (B, T, D)."""
    return values.unsqueeze(1) if values.dim() == 2 else values.reshape(len(values), -1, values.shape[-1])
