"""The task file of the `digits` sample; the project holds a copy of it as ``task.py``.

It shows all that a model from outside transformers needs: one function that returns an `attribution.Task`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from attribution import Checkpoint, Task

STEPS = 400
LEARNING_RATE = 0.1
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-3
BATCH_SIZE = 100
KEPT_STEPS = (67, 133, 200, 267, 333, 400)


def learning_rate(step: int) -> float:
    """The learning rate of step 1, 2, ..., ``STEPS``: a linear decay to 0."""
    return LEARNING_RATE * (1.0 - (step - 1) / STEPS)


def network() -> nn.Sequential:
    """An untrained network, (B, 1, 8, 8) -> logits (B, 10), with 6,570 parameters."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    )


def initial_weights(seed: int) -> dict[str, Tensor]:
    """The weights that training starts from: what `network` draws after ``torch.manual_seed(seed)``."""
    torch.manual_seed(seed)
    return network().state_dict()


def inputs(pixels: np.ndarray) -> Tensor:
    """Network inputs (N, 1, 8, 8) in 0..1 from grey values (N, 8, 8) in 0..16."""
    return torch.from_numpy(pixels).to(torch.float32).div(16.0).unsqueeze(1)


def picture(image: Tensor) -> np.ndarray:
    """Grey values (8, 8) in 0..255 of one network input."""
    return (image[0] * 255.0).round().to(torch.uint8).numpy()


def weights_file(project: Path, step: int) -> Path:
    """Where the weights after so many steps are stored."""
    return project / "checkpoints" / f"step-{step}" / "model.safetensors"


def build(project: Path) -> Task:
    """The trained network with its data, checkpoints and training record."""
    with np.load(project / "data" / "digits.npz") as stored:
        data = dict(stored)
    model = network()
    model.load_state_dict(load_file(weights_file(project, STEPS)))
    return Task(
        model=model,
        train=TensorDataset(inputs(data["train_pixels"]), torch.from_numpy(data["train_labels"])),
        test=TensorDataset(inputs(data["test_pixels"]), torch.from_numpy(data["test_labels"])),
        class_names=[str(digit) for digit in range(10)],
        checkpoints=[
            Checkpoint(weights_file(project, step), learning_rate=learning_rate(step), step=step)
            for step in KEPT_STEPS
        ],
        optimizer="sgd",
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        steps=STEPS,
        initial=initial_weights,
        train_ids=data["train_ids"].tolist(),
        test_ids=data["test_ids"].tolist(),
        train_metadata={"original_label": data["train_original_labels"].tolist()},
        display=picture,
    )
