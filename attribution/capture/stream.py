"""Per-example gradients of many examples, batch after batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from attribution.batches import Batch, batch_count, batches
from attribution.capture.capture import GradientCapture, PerExampleGradients, ValueFunction
from attribution.errors import NumericalError
from attribution.progress import SILENT, Reporter
from attribution.task import Task

MEMORY_BUDGET = 2**31
"""Bytes that the captured layer inputs and output gradients of a batch may take."""


def gradient_stream(
    task: Task,
    capture: GradientCapture,
    value_at: Callable[[Tensor], ValueFunction],
    *,
    split: str = "train",
    positions: Sequence[int] | None = None,
    batch_size: int,
    device: torch.device | str,
    reporter: Reporter = SILENT,
    message: str = "Gradients",
) -> Iterator[tuple[Tensor, PerExampleGradients]]:
    """Dataset positions (B,) and gradients, for all examples of a split or those at ``positions``.

    What is captured of a batch stays within `MEMORY_BUDGET`: examples that turn out larger come in smaller batches. A
    batch that does not fit the device's memory all the same is halved, as often as it takes.

    Args:
        value_at: the value function for a batch of given dataset positions (B,).

    Raises:
        NumericalError: a value is NaN or infinite, or a single example does not fit into memory.
        Cancelled: the user asked for a stop.
    """
    size = task.size(split) if positions is None else len(positions)
    work = batches(task, split, batch_size, positions)
    affordable = batch_size
    for batch in reporter.track(work, batch_count(size, batch_size), message):
        for piece in batch.pieces(affordable):
            for rows, gradients in _in_pieces(capture, piece, value_at, device):
                yield rows, gradients
                each = max(gradients.memory() // len(rows), 1)
                affordable = min(max(MEMORY_BUDGET // each, 1), batch_size)


def _in_pieces(
    capture: GradientCapture,
    batch: Batch,
    value_at: Callable[[Tensor], ValueFunction],
    device: torch.device | str,
) -> Iterator[tuple[Tensor, PerExampleGradients]]:
    try:
        moved = batch.to(device)
        found = capture.gradients(moved.inputs, moved.labels, value_at(batch.positions))
    except torch.OutOfMemoryError:
        found = None
    if found is not None:
        yield batch.positions, found
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(batch) == 1:
        raise NumericalError(
            "The gradient of a single example does not fit into the device's memory: use --device cpu, or "
            "shorter inputs."
        )
    for half in batch.pieces((len(batch) + 1) // 2):
        yield from _in_pieces(capture, half, value_at, device)
