"""Turning datasets into batches, and checkpoints into models."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from attribution.errors import ProjectError
from attribution.task import FROZEN_STATES, Checkpoint, Inputs, Task, TrainedModel, move

TEXT_BATCH, TENSOR_BATCH = 32, 128
"""Examples per gradient batch: short texts differ in length, and long batches of them pad more than they save."""

FEW_TEXTS = 8
"""Texts in one of several batches that a step goes through; half as many save no further time."""


@dataclass(frozen=True)
class Batch:
    """Some examples: dataset positions (B,), inputs, and labels (B,)."""

    positions: Tensor
    inputs: Inputs
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Batch:
        return Batch(self.positions, move(self.inputs, device), self.labels.to(device))

    def pieces(self, size: int) -> list[Batch]:
        """The examples in batches of at most ``size``."""
        return [self._rows(slice(start, start + size)) for start in range(0, len(self), size)]

    def _rows(self, rows: slice) -> Batch:
        inputs = self.inputs
        part = (
            inputs[rows]
            if isinstance(inputs, Tensor)
            else {name: tensor[rows] for name, tensor in inputs.items()}
        )
        return Batch(self.positions[rows], part, self.labels[rows])


def stack_or_pad(inputs: Sequence[Any]) -> Inputs:
    """Collate inputs: tensors of one shape are stacked, 1-D tensors of different lengths padded with zeros.

    A padded text needs an ``attention_mask`` among its tensors, which the padding then leaves at zero.
    """
    first = inputs[0]
    if isinstance(first, dict):
        return {key: _stacked([torch.as_tensor(item[key]) for item in inputs]) for key in first}
    return _stacked([torch.as_tensor(item) for item in inputs])


def _stacked(tensors: list[Tensor]) -> Tensor:
    if all(tensor.shape == tensors[0].shape for tensor in tensors):
        return torch.stack(tensors)
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True)


def collated(task: Task, items: Sequence[tuple[Any, Any]], positions: Sequence[int]) -> Batch:
    """A batch from dataset items ``(input, label)``."""
    collate = task.collate or stack_or_pad
    return Batch(
        positions=torch.as_tensor(list(positions)),
        inputs=collate([item[0] for item in items]),
        labels=torch.as_tensor([int(item[1]) for item in items]),
    )


def batch_of(task: Task, split: str, positions: Sequence[int]) -> Batch:
    """The examples at these positions as one batch."""
    dataset = cast(Any, task.dataset(split))
    batch = collated(task, [dataset[int(position)] for position in positions], positions)
    if task.frozen is None or not task.frozen.covers(split):
        return batch
    inputs = cast(dict[str, Tensor], batch.inputs)
    length = inputs["attention_mask"].shape[1]
    states = task.frozen.states(split, [int(position) for position in positions], length)
    return Batch(batch.positions, {**inputs, FROZEN_STATES: states}, batch.labels)


def batches(
    task: Task, split: str, batch_size: int, positions: Sequence[int] | None = None
) -> Iterator[Batch]:
    """All examples (or those at ``positions``) in batches; texts are grouped by length to waste no padding.

    Every position comes exactly once; the order of batches is fixed, so results do not depend on it.
    """
    dataset = cast(Any, task.dataset(split))
    order = list(range(task.size(split))) if positions is None else [int(p) for p in positions]
    if not order:
        return
    if _differ_in_length(dataset[order[0]][0]):
        known = getattr(dataset, "lengths", None)  # texts of a table know theirs, which saves reading each
        lengths = {p: max(len(v) for v in dataset[p][0].values()) for p in order} if known is None else known
        order = sorted(order, key=lambda position: lengths[position])
    for start in range(0, len(order), batch_size):
        yield batch_of(task, split, order[start : start + batch_size])


def unpadded(task: Task, split: str, positions: Sequence[int], device: torch.device) -> list[Batch]:
    """A few examples for one step, on the device: one batch or, of texts on a processor, several of about one length.

    There padding takes as long as words do: of 32 texts of `reviews` in one batch it is half.
    """
    size = len(positions)
    if device.type == "cpu":
        first = cast(Any, task.dataset(split))[int(positions[0])][0]
        size = FEW_TEXTS if isinstance(first, dict) and "attention_mask" in first else size
    return [batch.to(device) for batch in batches(task, split, size, positions)]


def _differ_in_length(inputs: Any) -> bool:
    """Whether this is an input of named sequences; the lengths of others need not be looked at one by one."""
    return isinstance(inputs, dict) and any(0 < torch.as_tensor(value).dim() < 3 for value in inputs.values())


def gradient_batch_size(task: Task) -> int:
    """Examples per gradient batch for this kind of data."""
    first = cast(Any, task.dataset("train"))[0][0]
    return TEXT_BATCH if isinstance(first, dict) and "input_ids" in first else TENSOR_BATCH


def batch_count(size: int, batch_size: int) -> int:
    """Number of batches that ``size`` examples make."""
    return -(-size // batch_size)


def labels_of(task: Task, split: str) -> Tensor:
    """Class numbers of a split, shape (N,)."""
    dataset = cast(Any, task.dataset(split))
    known = getattr(dataset, "labels", None)
    if isinstance(known, np.ndarray):
        return torch.from_numpy(known.astype(np.int64))
    values = known if known is not None else [dataset[position][1] for position in range(task.size(split))]
    return torch.as_tensor([int(value) for value in values])


def evaluation_copy(task: Task, device: torch.device | str) -> nn.Module:
    """A private copy of the final model in evaluation mode: nothing done to it reaches the task's own model.

    Evaluation mode fixes dropout and BatchNorm statistics, so that an example's gradient depends on that
    example alone.
    """
    return copy.deepcopy(task.model).to(device).eval()


def load_weights(model: nn.Module, stored: Checkpoint | TrainedModel, name: str) -> None:
    """Put stored parameters into a model; absent names keep their value.

    Args:
        name: what they are, for messages ("checkpoint of step 100").

    Raises:
        ProjectError: a name or a shape does not fit the model, or there is no readable file.
    """
    try:
        result = model.load_state_dict(dict(stored.tensors()), strict=False)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise ProjectError(
            f"The {name} does not fit the model ({first}): give weights of the same architecture."
        ) from error
    if result.unexpected_keys:
        raise ProjectError(
            f"The {name} has a parameter '{result.unexpected_keys[0]}' that the model lacks: give weights of the "
            "same architecture."
        )
