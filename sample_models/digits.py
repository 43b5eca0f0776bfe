"""`digits`: a small network on scikit-learn's digits, a tenth of its training labels flipped on purpose.

Whoever looks for the culprits of a misprediction can reveal afterwards which labels were planted wrong.
Network and recipe are those that our figures of the linear datamodeling score are measured with.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from attribution.batch_order import shuffled_batches
from attribution.progress import SILENT, Reporter
from attribution.projects import create_project
from attribution.projects.manifest import Manifest, TaskSource, TrainingRecord
from sample_models import digits_task as recipe
from sample_models.placement import building
from sample_models.training import cpu_threads, save_checkpoints, train

TRAIN_SIZE = 1000
FLIPPED_SHARE = 0.1
SEED = 0


def create(directory: Path, reporter: Reporter = SILENT, *, flipped: float = FLIPPED_SHARE) -> None:
    """Train the network (two seconds) and make a task-file project of it.

    ``flipped`` is the share of training labels that are wrong on purpose.
    """
    reporter(0.0, "Reading the digits")
    data = splits(flipped)
    with building(directory) as place, cpu_threads(1):
        save_data(place, data)
        shutil.copyfile(recipe.__file__, place / "task.py")
        model = _initial_network()
        pixels = recipe.inputs(data["train_pixels"])
        labels = torch.from_numpy(data["train_labels"])
        kept = train(
            model,
            lambda batch: torch.nn.functional.cross_entropy(model(pixels[batch]), labels[batch]),
            torch.optim.SGD(
                model.parameters(),
                lr=recipe.LEARNING_RATE,
                momentum=recipe.MOMENTUM,
                weight_decay=recipe.WEIGHT_DECAY,
            ),
            batches=shuffled_batches(TRAIN_SIZE, recipe.BATCH_SIZE, SEED),
            learning_rate=recipe.learning_rate,
            steps=recipe.STEPS,
            keep=recipe.KEPT_STEPS,
            reporter=reporter,
            message="Training the network",
        )
        checkpoints = save_checkpoints(place, "checkpoints", kept)
        create_project(
            place,
            Manifest(
                name="digits",
                title="Handwritten digits",
                summary=f"Network of 6,570 parameters on 8x8 digits; {round(flipped * TRAIN_SIZE)} of "
                f"{TRAIN_SIZE:,} training labels are wrong on purpose.",
                sample="digits",
                source=TaskSource(file="task.py", function="build"),
                checkpoints=checkpoints,
                training=TrainingRecord(
                    optimizer="sgd",
                    momentum=recipe.MOMENTUM,
                    weight_decay=recipe.WEIGHT_DECAY,
                    batch_size=recipe.BATCH_SIZE,
                    learning_rate=recipe.LEARNING_RATE,
                    steps=recipe.STEPS,
                ),
            ),
        )


def splits(share: float = FLIPPED_SHARE) -> dict[str, np.ndarray]:
    """Pixels (N, 8, 8) in 0..16, labels (N,), ids (N,) of both splits; training labels before flipping too.

    ``share`` of the training labels are flipped. An id is the row of the digit in scikit-learn's table, so that it
    means the same in every project.
    """
    digits = load_digits()
    random = np.random.default_rng(SEED)
    order = random.permutation(len(digits.target))
    rows = {"train": order[:TRAIN_SIZE], "test": order[TRAIN_SIZE:]}
    data: dict[str, np.ndarray] = {}
    for split, chosen in rows.items():
        data[f"{split}_pixels"] = digits.images[chosen].astype(np.uint8)
        data[f"{split}_labels"] = digits.target[chosen].astype(np.int64)
        data[f"{split}_ids"] = np.array([f"digit-{row:04d}" for row in chosen])
    data["train_original_labels"] = data["train_labels"].copy()
    flipped = random.choice(TRAIN_SIZE, round(share * TRAIN_SIZE), replace=False)
    shift = random.integers(1, 10, len(flipped))
    data["train_labels"][flipped] = (data["train_labels"][flipped] + shift) % 10
    return data


def save_data(place: Path, data: dict[str, np.ndarray]) -> None:
    """Write both splits into a project's folder."""
    (place / "data").mkdir()
    np.savez_compressed(place / "data" / "digits.npz", allow_pickle=False, **data)


def _initial_network() -> torch.nn.Sequential:
    """A network with seeded initial weights, leaving the caller's random numbers alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return recipe.network()
