"""Trying a task out on a few examples: what would go wrong hours later is said at once, in a sentence."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from attribution.batches import batch_of, evaluation_copy, labels_of
from attribution.errors import TracefixError, UsageError
from attribution.progress import SILENT, Reporter
from attribution.sources.image_data import ImageDataset
from attribution.sources.python_function import describe
from attribution.task import Task

TRIED = 2
"""Examples of each split that go through the model; two, so that they have to fit into one batch."""


def try_task(task: Task, reporter: Reporter = SILENT) -> None:
    """Check the labels, run a few examples through the model, and read every picture of a folder or table once.

    Raises:
        UsageError: labels, inputs and model do not fit each other, or the model gives NaN.
        ProjectError: a picture cannot be read.
    """
    check_labels(task)
    model = evaluation_copy(task, "cpu")
    for split in ("train", "test"):
        positions = range(min(TRIED, task.size(split)))
        ids = ", ".join(f"'{one}'" for one in task.ids(split)[: len(positions)])
        name = f"the {split} examples {ids}" if len(positions) > 1 else f"the {split} example {ids}"
        try:
            batch = batch_of(task, split, positions)
            with torch.no_grad():
                logits = task.logits(model, batch.inputs)
        except TracefixError:
            raise
        except Exception as error:
            raise UsageError(
                f"The model does not take {name} ({describe(error)}): the datasets' items must be (input, "
                "label), and the inputs what the model reads."
            ) from error
        check_logits(task, logits)
        if len(logits) != len(positions):
            raise UsageError(
                f"The model gives {len(logits)} rows of logits for {len(positions)} examples: it must give one each."
            )
        if not torch.isfinite(logits).all():
            raise UsageError(
                f"The model gives NaN or infinity for {name}: check its weights and how the inputs are made."
            )
    for number, split in enumerate(("train", "test")):
        dataset = task.dataset(split)
        if isinstance(dataset, ImageDataset):
            dataset.check(reporter.share(number / 2, (number + 1) / 2))


def check_labels(task: Task) -> None:
    """Refuse splits without examples and labels that are no class numbers.

    Raises:
        UsageError: naming the example.
    """
    for split in ("train", "test"):
        if task.size(split) == 0:
            raise UsageError(f"The {split} data is empty: give at least one example.")
        dataset = cast(Any, task.dataset(split))
        try:
            labels = labels_of(task, split)
        except (TypeError, ValueError, IndexError, KeyError, RuntimeError) as error:
            raise UsageError(
                f"The labels of the {split} data, of type {type(dataset).__name__}, cannot be read "
                f"({describe(error)}): its items must be (input, label), and labels class numbers."
            ) from error
        wrong = torch.nonzero((labels < 0) | (labels >= len(task.class_names)))
        if len(wrong):
            position = int(wrong[0])
            raise UsageError(
                f"The {split} example '{task.ids(split)[position]}' has the label {int(labels[position])}: labels must "
                f"be class numbers 0 to {len(task.class_names) - 1}."
            )


def check_logits(task: Task, logits: Any) -> None:
    """Refuse logits that are not one number for each class.

    Raises:
        UsageError: saying what they are.
    """
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        what = f"a tensor {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise UsageError(f"The model gives {what} for a batch: it must give logits (examples, classes).")
    if logits.shape[1] != len(task.class_names):
        raise UsageError(
            f"The model gives {logits.shape[1]} logits for {len(task.class_names)} class names: give one name each."
        )
