"""The task file of the `ensemble` sample; the project holds a copy of it as ``task.py``.

Digits as in the `digits` sample, with what some methods need beyond a model: layers of turn-over dropout, and further
models that were trained the same way.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from attribution import Checkpoint, Task, TrainedModel
from attribution.turnover import TurnoverDropout
from sample_models.digits_task import BATCH_SIZE, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, inputs, picture

STEPS = 800
KEPT_STEPS = (100, 200, 400, 800)
MODELS = 5


def learning_rate(step: int) -> float:
    """The learning rate of step 1, 2, ..., ``STEPS``: a linear decay to 0."""
    return LEARNING_RATE * (1.0 - (step - 1) / STEPS)


def network() -> nn.Sequential:
    """An untrained network, (B, 1, 8, 8) -> logits (B, 10), with 17,226 parameters."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 128),
        nn.ReLU(),
        TurnoverDropout(128, seed=1),
        nn.Linear(128, 64),
        nn.ReLU(),
        TurnoverDropout(64, seed=2),
        nn.Linear(64, 10),
    )


def initial_weights(seed: int) -> dict[str, Tensor]:
    """The weights that training starts from: what `network` draws after ``torch.manual_seed(seed)``."""
    torch.manual_seed(seed)
    return network().state_dict()


def weights_file(project: Path, model: int, step: int) -> Path:
    """Where the weights of model 0, 1, ... after so many steps are stored."""
    return project / f"model-{model}" / f"step-{step}" / "model.safetensors"


def build(project: Path) -> Task:
    """The first network with its data and training record, and the others as its ensemble."""
    with np.load(project / "data" / "digits.npz") as stored:
        data = dict(stored)
    runs = [
        [Checkpoint(weights_file(project, m, step), learning_rate(step), step) for step in KEPT_STEPS]
        for m in range(MODELS)
    ]
    model = network()
    model.load_state_dict(load_file(weights_file(project, 0, STEPS)))
    return Task(
        model=model,
        train=TensorDataset(inputs(data["train_pixels"]), torch.from_numpy(data["train_labels"])),
        test=TensorDataset(inputs(data["test_pixels"]), torch.from_numpy(data["test_labels"])),
        class_names=[str(digit) for digit in range(10)],
        checkpoints=runs[0],
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
        ensemble=[TrainedModel(run[-1].state_dict, run) for run in runs[1:]],
    )
