"""A few steps of gradient descent on chosen training examples, watched at one test example."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution.batches import Batch
from attribution.errors import NumericalError
from attribution.measurements import probabilities
from attribution.progress import SILENT, Reporter
from attribution.task import LossFunction, Task


@dataclass(frozen=True)
class Target:
    """The misprediction to correct: its batch of one, true and predicted class numbers."""

    batch: Batch
    true: int
    predicted: int


@dataclass
class Descent:
    """The model after the last step, and the probabilities (steps + 1, C) of the test example after each step."""

    model: nn.Module
    probabilities: Tensor
    fixed: bool

    @property
    def steps(self) -> int:
        """Steps taken."""
        return len(self.probabilities) - 1


def descend(
    task: Task,
    model: nn.Module,
    examples: Batch,
    target: Target,
    *,
    learning_rate: float,
    max_steps: int,
    replay: Batch | None = None,
    reporter: Reporter = SILENT,
    message: str = "Fine-tuning",
) -> Descent:
    """Plain gradient descent on the mean training loss of ``examples``, on a copy of ``model``.

    With ``replay``, random training examples, their mean loss is added: it pulls back what the steps would break.

    Stops at the first step at which the target is predicted as its true class. The model stays in evaluation
    mode: dropout is off and BatchNorm statistics are frozen, so nothing but the examples changes the weights.

    Raises:
        NumericalError: the loss or the weights became NaN or infinite; ``model`` itself is untouched.
    """
    patched = copy.deepcopy(model).eval()
    parameters = [p for p in patched.parameters() if p.requires_grad]
    rows = [_probabilities(task, patched, target)]
    fixed = False
    for step in range(max_steps):
        reporter(step / max_steps, f"{message}: step {step + 1} of at most {max_steps}")
        loss = mean_loss(task, patched, examples, task.loss)
        if replay is not None:
            loss = loss + mean_loss(task, patched, replay, task.loss)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter.sub_(gradient, alpha=learning_rate)
        rows.append(_probabilities(task, patched, target))
        if not bool(torch.isfinite(rows[-1]).all()):
            raise NumericalError(
                f"Fine-tuning diverged at step {step + 1}: choose other training examples; nothing was changed."
            )
        fixed = int(rows[-1].argmax()) == target.true
        if fixed:
            break
    return Descent(patched, torch.stack(rows), fixed)


def mean_loss(task: Task, model: nn.Module, batch: Batch, loss: LossFunction) -> Tensor:
    """Mean loss of a batch, a scalar in the graph."""
    return loss(task.logits(model, batch.inputs), batch.labels).mean()


def _probabilities(task: Task, model: nn.Module, target: Target) -> Tensor:
    with torch.no_grad():
        return probabilities(task.logits(model, target.batch.inputs))[0].cpu()
