"""Streams of gradients: the same numbers within any budget of memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attribution.capture import GradientCapture, PerExampleGradients, ValueFunction, gradient_stream
from attribution.errors import NumericalError
from attribution.task import Inputs, Task
from tests.unit.tiny_models import TextModel, labels, settled, task_of, texts

COUNT = 40


def norms_of(task: Task, capture: GradientCapture) -> tuple[Tensor, list[int]]:
    """Squared norms (COUNT,) in dataset order, and the sizes of the batches they came in."""
    norms, sizes = torch.full((COUNT,), torch.nan), []
    for positions, gradients in gradient_stream(
        task, capture, lambda positions: task.loss, batch_size=16, device="cpu"
    ):
        norms[positions] = gradients.norm_squared()
        sizes.append(len(positions))
    return norms, sizes


def task() -> Task:
    torch.manual_seed(0)
    return task_of(settled(TextModel()), texts(COUNT), labels(COUNT))


def test_a_small_budget_makes_smaller_batches_of_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    given = task()
    capture = GradientCapture(given, given.model)
    expected, sizes = norms_of(given, capture)
    assert sizes == [16, 16, 8]
    monkeypatch.setattr("attribution.capture.stream.MEMORY_BUDGET", 6000)
    found, smaller = norms_of(given, capture)
    assert sum(smaller) == COUNT and max(smaller[1:]) < 16
    assert torch.allclose(found, expected, rtol=1e-5)


class Scarce(GradientCapture):
    """A capture on a device that holds three examples."""

    def gradients(self, inputs: Inputs, labels: Tensor, value: ValueFunction) -> PerExampleGradients:
        if len(labels) > self.fits:
            raise torch.OutOfMemoryError("no memory")
        return super().gradients(inputs, labels, value)

    fits = 3


def test_batches_are_halved_until_they_fit() -> None:
    given = task()
    expected, _ = norms_of(given, GradientCapture(given, given.model))
    scarce = Scarce(given, given.model)
    found, sizes = norms_of(given, scarce)
    assert max(sizes) <= 3 and torch.allclose(found, expected, rtol=1e-5)
    scarce.fits = 0
    with pytest.raises(NumericalError, match=r"single example does not fit .* use --device cpu"):
        norms_of(given, scarce)
