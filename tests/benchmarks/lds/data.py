"""Training and test data of a setting."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .settings import Setting

FASHION_VARIABLE = "TRACEFIX_FASHION"
FASHION_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


class MissingDataError(Exception):
    """The data of a setting are not on this machine."""


@dataclass(frozen=True)
class Data:
    """Inputs (n, D) in [0, 1] and labels (n,) of both splits; some training labels are wrong on purpose."""

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor


def fashion_folder(option: str | Path | None = None) -> Path | None:
    """The folder with Fashion-MNIST's original files: ``option``, else the environment variable; None if absent."""
    chosen = option or os.environ.get(FASHION_VARIABLE)
    if not chosen or not all((Path(chosen) / name).is_file() for name in FASHION_FILES):
        return None
    return Path(chosen)


def load_data(setting: Setting, fashion: Path | None = None) -> Data:
    """The data of a setting; the same split whatever the label noise.

    Raises:
        MissingDataError: Fashion-MNIST is asked for and ``fashion`` is None.
    """
    generator = np.random.default_rng(0)
    if setting.data == "digits":
        data = _digits(setting, generator)
    elif setting.data == "fashion":
        data = _fashion(setting, generator, fashion)
    else:
        data = _blobs(setting, generator)
    labels = with_noise(data.labels, setting, generator)
    return Data(data.inputs, labels, data.test_inputs, data.test_labels)


def with_noise(labels: Tensor, setting: Setting, generator: np.random.Generator) -> Tensor:
    """A copy of the labels with the setting's share of them changed."""
    classes, changed = setting.widths[-1], labels.clone()
    if setting.relabelled:
        count = int(setting.relabelled * len(labels))
        chosen = generator.choice(len(labels), count, replace=False)
        changed[chosen] = (changed[chosen] + torch.tensor(generator.integers(1, classes, count))) % classes
    if setting.randomized:
        count = int(setting.randomized * len(labels))
        chosen = generator.choice(len(labels), count, replace=False)
        changed[chosen] = torch.tensor(generator.integers(0, classes, count))
    return changed


def _digits(setting: Setting, generator: np.random.Generator) -> Data:
    from sklearn.datasets import load_digits

    digits = load_digits()
    inputs = torch.tensor(digits.images / 16.0, dtype=torch.float32).flatten(1)
    labels = torch.tensor(digits.target)
    order = generator.permutation(len(inputs))
    train = order[: setting.train_size]
    test = order[setting.train_size : setting.train_size + setting.test_size]
    return Data(inputs[train], labels[train], inputs[test], labels[test])


def _fashion(setting: Setting, generator: np.random.Generator, folder: Path | None) -> Data:
    if folder is None:
        raise MissingDataError(
            f"Fashion-MNIST is not here: put its four original files ({', '.join(FASHION_FILES)}) into one folder "
            f"and name it with --fashion FOLDER or {FASHION_VARIABLE}."
        )
    train_images, train_labels, test_images, test_labels = (_idx(folder / name) for name in FASHION_FILES)
    train = generator.choice(len(train_images), setting.train_size, replace=False)
    test = generator.choice(len(test_images), setting.test_size, replace=False)
    return Data(
        _pixels(train_images[train]),
        torch.tensor(train_labels[train].astype(np.int64)),
        _pixels(test_images[test]),
        torch.tensor(test_labels[test].astype(np.int64)),
    )


def _pixels(images: np.ndarray) -> Tensor:
    return torch.tensor(images, dtype=torch.float32).flatten(1) / 255


def _idx(file: Path) -> np.ndarray:
    """The array in a gzipped IDX file: two zero bytes, type (8 = bytes), rank, then each size as four bytes."""
    content = gzip.decompress(file.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=rank, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape)


def _blobs(setting: Setting, generator: np.random.Generator) -> Data:
    features, classes = setting.widths[0], setting.widths[-1]
    size = setting.train_size + setting.test_size
    labels = generator.integers(0, classes, size)
    centres = generator.normal(size=(classes, features))
    inputs = torch.tensor(centres[labels] + generator.normal(size=(size, features)), dtype=torch.float32)
    split = setting.train_size
    targets = torch.tensor(labels)
    return Data(inputs[:split], targets[:split], inputs[split:], targets[split:])
