"""How far one step on each of some training examples, with a label of its own each, would move predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attribution.batches import batch_of, gradient_batch_size
from attribution.capture import GradientCapture, gradient_stream
from attribution.capture.capture import ValueFunction
from attribution.fixing.context import FixContext
from attribution.fixing.optimization import GradientMap, trained
from attribution.progress import Reporter


def pulls(
    context: FixContext,
    mapped: GradientMap,
    positions: Sequence[int],
    labels: Mapping[int, int],
    reporter: Reporter,
) -> NDArray[np.float64]:
    """First-order fall of the margin z_predicted - z_true of test examples for one step on each training example.

    What is scored is training on the example with a new label, about which its influence with the label that it has
    says nothing.

    Args:
        mapped: the metric of the step (symmetric): what the gradients of the step are replaced by.
        positions: of the test examples; the mean over them counts.
        labels: class number to train with, by training position.

    Returns:
        One number for each training position, in their order.
    """
    task, model = context.task, context.model
    rows = context.predictions.iloc[list(positions)]
    true, predicted = (torch.tensor(rows[name].tolist()) for name in ("label", "predicted"))
    parameters = trained(model)
    logits = task.logits(model, batch_of(task, "test", list(positions)).to(context.device).inputs)
    each = torch.arange(len(rows))
    margin = (logits[each, predicted.to(logits.device)] - logits[each, true.to(logits.device)]).mean()
    found = torch.autograd.grad(margin, list(parameters.values()), allow_unused=True)
    gradient = {name: g for name, g in zip(parameters, found, strict=True) if g is not None}
    capture = GradientCapture(task, model)
    blocks = capture.from_parameters({name: g.unsqueeze(0) for name, g in mapped(gradient).items()})
    places = {position: place for place, position in enumerate(labels)}
    pull = np.zeros(len(labels))
    stream = gradient_stream(
        task,
        capture,
        lambda batch: _labelled(context, [labels[int(p)] for p in batch]),
        positions=list(labels),
        batch_size=gradient_batch_size(task),
        device=context.device,
        reporter=reporter,
        message="Scoring the relabelled examples",
    )
    for batch, gradients in stream:
        pull[[places[int(p)] for p in batch]] = gradients.dot(blocks)[:, 0].detach().double().cpu().numpy()
    return pull


def _labelled(context: FixContext, labels: Sequence[int]) -> ValueFunction:
    """The training loss with these labels (B,)."""
    new = torch.tensor(list(labels)).to(context.device)

    def value(logits: Tensor, _: Tensor) -> Tensor:
        return context.task.loss(logits, new)

    return value
