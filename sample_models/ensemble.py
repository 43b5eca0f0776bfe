"""`ensemble`: five networks on the digits, trained with turn-over dropout from five seeds.

The sample for what needs more than one trained model, or a model that was trained in a special way.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from attribution.batch_order import shuffled_batches
from attribution.progress import SILENT, Reporter
from attribution.projects import create_project
from attribution.projects.manifest import CheckpointRecord, Manifest, TaskSource, TrainingRecord
from attribution.turnover import masked
from sample_models import digits_task
from sample_models import ensemble_task as recipe
from sample_models.digits import save_data, splits
from sample_models.placement import building
from sample_models.training import cpu_threads, save_checkpoints, train


def create(directory: Path, reporter: Reporter = SILENT) -> None:
    """Train the networks (some seconds) and make a task-file project of them."""
    reporter(0.0, "Reading the digits")
    data = splits()
    with building(directory) as place, cpu_threads(1):
        save_data(place, data)
        shutil.copyfile(recipe.__file__, place / "task.py")
        records = [
            _train(place, data, model, reporter.share(model / recipe.MODELS, (model + 1) / recipe.MODELS))
            for model in range(recipe.MODELS)
        ]
        create_project(
            place,
            Manifest(
                name="ensemble",
                title="Five networks on digits",
                summary=f"{recipe.MODELS} networks of 17,226 parameters on 8x8 digits, trained with turn-over dropout "
                "from as many seeds; 100 of 1,000 training labels are wrong on purpose.",
                sample="ensemble",
                source=TaskSource(file="task.py", function="build"),
                checkpoints=records[0],
                training=TrainingRecord(
                    optimizer="sgd",
                    momentum=digits_task.MOMENTUM,
                    weight_decay=digits_task.WEIGHT_DECAY,
                    batch_size=digits_task.BATCH_SIZE,
                    learning_rate=digits_task.LEARNING_RATE,
                    steps=recipe.STEPS,
                ),
            ),
        )


def _train(
    place: Path, data: dict[str, np.ndarray], number: int, reporter: Reporter
) -> list[CheckpointRecord]:
    """Train one network and save its checkpoints."""
    pixels, labels = digits_task.inputs(data["train_pixels"]), torch.from_numpy(data["train_labels"])
    ids = data["train_ids"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        model = recipe.network()

    def batch_loss(batch: torch.Tensor) -> torch.Tensor:
        with masked(model, ids[batch.numpy()].tolist()):
            return cross_entropy(model(pixels[batch]), labels[batch])

    kept = train(
        model,
        batch_loss,
        torch.optim.SGD(
            model.parameters(),
            lr=digits_task.LEARNING_RATE,
            momentum=digits_task.MOMENTUM,
            weight_decay=digits_task.WEIGHT_DECAY,
        ),
        batches=shuffled_batches(len(labels), digits_task.BATCH_SIZE, number),
        learning_rate=recipe.learning_rate,
        steps=recipe.STEPS,
        keep=recipe.KEPT_STEPS,
        reporter=reporter,
        message=f"Training network {number + 1} of {recipe.MODELS}",
    )
    return save_checkpoints(place, f"model-{number}", kept)
