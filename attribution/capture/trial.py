"""Finding out which layers hooks cannot follow, by trying a few examples.

A hook sees a layer's own runs. Some models read a layer's weight elsewhere (DeBERTa its table of relative positions),
or run a layer on something that all examples share; and a subclass may compute anything. Then what hooks make of the
layer is not its gradient. Autograd's gradient of a random mixture of the examples' logits tells: the per-example
gradients have to give the same mixture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from attribution.batches import Batch, batch_of
from attribution.capture.calls import Call, captured, shared
from attribution.capture.layers import Layer
from attribution.task import Task

_EXAMPLES = 3

_OWN, _WHOLE = 1e-3, 1e-6
"""Differences that rounding may make, relative to the largest number of the layer's gradient and of the whole one."""


def trial_batch(task: Task) -> Batch:
    """A few training examples, of different lengths where they are texts."""
    size = task.size("train")
    dataset = cast(Any, task.dataset("train"))
    some = list(range(min(size, 8 * _EXAMPLES)))
    if isinstance(dataset[0][0], Mapping):
        some.sort(key=lambda position: max(len(value) for value in dataset[position][0].values()))
    chosen = [some[len(some) * number // _EXAMPLES] for number in range(_EXAMPLES - 1)]
    return batch_of(task, "train", [*chosen, some[-1]])


def misfits(
    model: nn.Module, layers: Mapping[str, Layer], logits: Tensor, calls: Mapping[str, Sequence[Call]]
) -> frozenset[str] | None:
    """Names of the layers whose gradients hooks get wrong; None where the gradients are not finite.

    Args:
        logits: (B, C) of a forward pass.
        calls: what hooks saw of it.
    """
    examples = len(logits)
    generator = torch.Generator().manual_seed(0)
    values = (logits * torch.randn(logits.shape, generator=generator).to(logits)).sum(dim=1)
    weights = torch.randn(examples, generator=generator).to(values)
    parameters = dict(model.named_parameters())
    names = [name for layer in layers.values() for name in layer.parameter_names]
    gradients = torch.autograd.grad(
        values @ weights, [parameters[name] for name in names], allow_unused=True, retain_graph=True
    )
    expected = {name: g for name, g in zip(names, gradients, strict=True) if g is not None}
    if not all(bool(torch.isfinite(gradient).all()) for gradient in expected.values()):
        return None
    wrong = shared(layers, calls, examples)
    for name, layer in layers.items():
        if not calls[name] and any(bool(expected[p].any()) for p in layer.parameter_names if p in expected):
            wrong.add(name)
    kept = {name: layer for name, layer in layers.items() if name not in wrong}
    largest = max((float(gradient.abs().max()) for gradient in expected.values()), default=0.0)
    for name, block in captured(kept, calls, values).items():
        found = kept[name].split(block.combine(weights.unsqueeze(1)))
        own = [expected[p] for p in found if p in expected]
        if not own:
            continue
        allowed = _OWN * max(float(gradient.abs().max()) for gradient in own) + _WHOLE * largest
        difference = max(
            float((found[p][0] - expected.get(p, torch.zeros_like(found[p][0]))).abs().max()) for p in found
        )
        if difference > allowed:
            wrong.add(name)
    return frozenset(wrong)
