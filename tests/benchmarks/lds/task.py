"""A run of the benchmark as the engine's `Task`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from attribution import Checkpoint, Task

from .run import Run


class Rows(Dataset[Any]):
    """Rows of pixels with labels."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        self.inputs = inputs
        self.labels = labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        return self.inputs[position], self.labels[position]


def mlp(layers: list[tuple[int, int]]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    return nn.Sequential(*[m for i, o in layers for m in (nn.Linear(i, o), nn.ReLU())][:-1])


def named(layers: list[tuple[int, int]], parameters: list[Tensor]) -> dict[str, Tensor]:
    """Weight and bias of each layer in turn, by their names in `mlp`."""
    names = [f"{2 * number}.{kind}" for number in range(len(layers)) for kind in ("weight", "bias")]
    return dict(zip(names, parameters, strict=True))


def task_of(run: Run) -> Task:
    """The task with its whole training record."""
    setting, data = run.setting, run.data
    states = [named(setting.layers, parameters) for parameters in run.parameters]
    model = mlp(setting.layers)
    model.load_state_dict(states[-1])
    return Task(
        model=model,
        train=Rows(data.inputs, data.labels),
        test=Rows(data.test_inputs, data.test_labels),
        class_names=[str(c) for c in range(setting.widths[-1])],
        checkpoints=[
            Checkpoint(state, learning_rate=rate, step=step)
            for state, rate, step in zip(states, run.rates, run.steps, strict=True)
        ],
        momentum=setting.momentum,
        weight_decay=setting.weight_decay,
        batch_size=setting.batch,
        learning_rate=setting.learning_rate,
        steps=setting.steps(setting.train_size),
    )
