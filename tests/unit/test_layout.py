"""Convolutional networks run with channels last where that changes nothing but the time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attribution import Task
from attribution.batches import batch_of
from attribution.capture import GradientCapture
from attribution.layout import use_fast_layout
from attribution.trajectory import Trajectory
from tests.unit.tiny_models import convolutional, images, labels, mlp, settled, task_of

COUNT = 8


class Viewing(nn.Module):
    """A network that counts on the usual order of its numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, 3)
        self.last = nn.Linear(4 * 36, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        rows: Tensor = self.last(self.convolution(inputs).view(len(inputs), -1))
        return rows


class Peeking(Viewing):
    """The same without an error: it takes the numbers as they lie in memory."""

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.convolution(inputs)
        rows: Tensor = self.last(found.as_strided((len(inputs), 4 * 36), (4 * 36, 1)))
        return rows


def channels_last(model: nn.Module) -> bool:
    return all(
        module.weight.is_contiguous(memory_format=torch.channels_last)
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    )


def image_task(model: nn.Module) -> Task:
    return task_of(settled(model), images(COUNT), labels(COUNT))


def test_the_order_changes_no_gradient() -> None:
    task = image_task(convolutional())
    model = Trajectory(task).model_at(Trajectory(task).final)
    assert channels_last(model) and not channels_last(task.model)
    batch = batch_of(task, "train", range(COUNT))
    first, second = (
        GradientCapture(task, m).gradients(batch.inputs, batch.labels, task.loss).dense()
        for m in (model, task.model)
    )
    for name, gradient in first.items():
        assert torch.allclose(gradient, second[name], rtol=1e-4, atol=1e-5)


def test_a_model_that_looks_at_memory_keeps_the_usual_order() -> None:
    for model in (Viewing(), Peeking()):
        task = image_task(model)
        use_fast_layout(task, task.model)
        assert not channels_last(task.model)
        assert task.logits(task.model, batch_of(task, "train", range(COUNT)).inputs).shape == (COUNT, 3)


def test_models_without_convolutions_are_left_alone() -> None:
    task = task_of(settled(mlp()), torch.randn(COUNT, 5), labels(COUNT))
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    use_fast_layout(task, task.model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.model.state_dict().items())
