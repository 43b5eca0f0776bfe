"""Make the shipped project of the `fashion` sample again, from the four original Fashion-MNIST files:

    python -m sample_models.fashion_training FOLDER

It takes half a minute on two CPU cores. The training split is as large as in Bae et al. 2024, "Training Data
Attribution via Approximate Unrolled Differentiation"; the network is small enough to ship six checkpoints.
"""

from __future__ import annotations

import gzip
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

from attribution.batch_order import shuffled_batches
from attribution.progress import Reporter
from attribution.projects import Manifest, TrainingRecord, TransformersSource, create_project
from attribution.projects.manifest import FRESH
from sample_models.fashion import SHIPPED
from sample_models.placement import building
from sample_models.tables import png, write_table
from sample_models.training import (
    cpu_threads,
    evenly_spaced,
    linear_decay,
    save_checkpoints,
    train,
)

CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
TRAIN_SIZE = 6144
TEST_SIZE = 2000
PIXEL_MEAN = 0.286
PIXEL_DEVIATION = 0.353
LEARNING_RATE = 0.05
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-3
BATCH_SIZE = 64
EPOCHS = 12
CHECKPOINTS = 6
SEED = 0


def write_project(originals: Path, place: Path, reporter: Reporter) -> None:
    """Choose the examples, train the network and write the project into the folder ``place``."""
    pixels, labels = _write_splits(originals, place / "data")
    model = network()
    model.train()
    inputs, targets = network_inputs(pixels), torch.from_numpy(labels.astype(np.int64))
    steps = EPOCHS * (TRAIN_SIZE // BATCH_SIZE)
    with cpu_threads(2):
        kept = train(
            model,
            lambda batch: torch.nn.functional.cross_entropy(model(inputs[batch]).logits, targets[batch]),
            torch.optim.SGD(
                model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
            ),
            batches=shuffled_batches(TRAIN_SIZE, BATCH_SIZE, SEED),
            learning_rate=linear_decay(LEARNING_RATE, steps),
            steps=steps,
            keep=evenly_spaced(CHECKPOINTS, steps),
            reporter=reporter,
            message="Training the network",
        )
    model.save_pretrained(place / "model")
    ViTImageProcessorPil(
        do_resize=False, image_mean=[PIXEL_MEAN], image_std=[PIXEL_DEVIATION]
    ).save_pretrained(place / "model")
    create_project(
        place,
        Manifest(
            name="fashion",
            title="Fashion articles",
            summary="A small ResNet on 28x28 pictures of clothes: 6,144 of Fashion-MNIST, labels as published.",
            sample="fashion",
            source=TransformersSource(
                model="model",
                train="data/train.parquet",
                test="data/test.parquet",
                image_column="image",
                label_column="label",
                id_column="id",
                initial=FRESH,
            ),
            checkpoints=save_checkpoints(place, "checkpoints", kept),
            training=TrainingRecord(
                optimizer="sgd",
                momentum=MOMENTUM,
                weight_decay=WEIGHT_DECAY,
                batch_size=BATCH_SIZE,
                learning_rate=LEARNING_RATE,
                steps=steps,
            ),
        ),
    )


def network() -> ResNetForImageClassification:
    """An untrained ResNet of three stages, one block each: (B, 1, 28, 28) -> logits (B, 10)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return ResNetForImageClassification(
            ResNetConfig(
                num_channels=1,
                embedding_size=24,
                hidden_sizes=[24, 32, 64],
                depths=[1, 1, 1],
                layer_type="basic",
                id2label=dict(enumerate(CLASS_NAMES)),
                label2id={name: number for number, name in enumerate(CLASS_NAMES)},
            )
        )


def network_inputs(pixels: np.ndarray) -> Tensor:
    """Network inputs (N, 1, 28, 28) from grey values (N, 28, 28), as the saved image processor makes them."""
    greys = torch.from_numpy(pixels).to(torch.float32).div(255)
    return greys.sub(PIXEL_MEAN).div(PIXEL_DEVIATION).unsqueeze(1)


def _write_splits(originals: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write both tables and return pixels (N, 28, 28) and labels (N,) of the training split.

    An id is the split and row of the picture in the original files.
    """
    random = np.random.default_rng(SEED)
    chosen: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for split, prefix, size in (("train", "train", TRAIN_SIZE), ("test", "t10k", TEST_SIZE)):
        pixels = read_idx(originals / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(originals / f"{prefix}-labels-idx1-ubyte.gz")
        rows = np.sort(random.choice(len(labels), size, replace=False))
        chosen[split] = pixels[rows], labels[rows]
        write_table(
            folder / f"{split}.parquet",
            {
                "id": [f"{split}-{row:05d}" for row in rows],
                "image": [png(picture) for picture in pixels[rows]],
                "label": [CLASS_NAMES[label] for label in labels[rows]],
            },
        )
    return chosen["train"]


def read_idx(file: Path) -> np.ndarray:
    """An array of bytes in the IDX format of MNIST: two zeros, type, rank, big-endian sizes, values."""
    content = gzip.decompress(file.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=rank, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape).copy()


def _to_terminal(fraction: float, message: str) -> None:
    sys.stderr.write(f"\r{fraction:4.0%} {message}")


def main(originals: Path) -> None:
    """Make the project anew beside the shipped one, then put it in its place."""
    anew = SHIPPED.with_name("fashion-anew")
    with building(anew) as place:
        write_project(originals, place, Reporter(_to_terminal))
        shutil.copyfile(SHIPPED / "LICENSE", place / "LICENSE")
    shutil.rmtree(SHIPPED)
    anew.rename(SHIPPED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
