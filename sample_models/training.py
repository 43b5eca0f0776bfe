"""A plain training loop that keeps checkpoints on the way, shared by all samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from attribution.progress import Reporter
from attribution.projects.manifest import CheckpointRecord
from attribution.task import optimizer_second_moments

REPORT_EVERY_SECONDS = 0.1
"""Often enough for a cancellation to feel immediate, rarely enough to cost nothing."""


@dataclass(frozen=True)
class Kept:
    """What the loop keeps of one point of the run.

    Args:
        step: optimizer steps taken.
        learning_rate: step size of the last of them.
        tensors: copies of the trained parameters and of all buffers, by name.
        second_moments: what Adam keeps of the squared gradients of each trained parameter; empty for SGD.
    """

    step: int
    learning_rate: float
    tensors: dict[str, Tensor]
    second_moments: dict[str, Tensor]


def linear_decay(peak: float, steps: int) -> Callable[[int], float]:
    """The learning rate of step 1, 2, ..., ``steps``: from ``peak`` down, reaching 0 just after the last."""
    return lambda step: peak * (1.0 - (step - 1) / steps)


def evenly_spaced(count: int, steps: int) -> list[int]:
    """``count`` step numbers at equal distances, the last one being the final step."""
    return [round(steps * position / count) for position in range(1, count + 1)]


def train(
    model: nn.Module,
    batch_loss: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    batches: Iterator[Tensor],
    learning_rate: Callable[[int], float],
    steps: int,
    keep: Sequence[int],
    reporter: Reporter,
    message: str,
) -> list[Kept]:
    """Take ``steps`` optimizer steps and return the points after the steps named in ``keep``.

    Args:
        batch_loss: positions (B,) -> mean loss of these training examples, a scalar.
        learning_rate: step number, from 1 -> step size.
    """
    kept: list[Kept] = []
    last_report = -float("inf")
    for step in range(1, steps + 1):
        if time.monotonic() - last_report >= REPORT_EVERY_SECONDS:
            reporter((step - 1) / steps, message)
            last_report = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        loss = batch_loss(next(batches))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step in keep:
            moments = optimizer_second_moments(model, optimizer)
            kept.append(Kept(step, learning_rate(step), trained_tensors(model), moments))
    reporter(1.0, message)
    return kept


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all that training changed: parameters that need gradients, and persistent buffers."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {
        name: tensor.detach().clone().contiguous()
        for name, tensor in model.state_dict().items()
        if name not in frozen
    }


def save_checkpoints(directory: Path, folder: str, kept: Sequence[Kept]) -> list[CheckpointRecord]:
    """Write ``folder/step-N/model.safetensors`` in a project directory; return the manifest's lines.

    Second moments lie beside it, where there are any.
    """
    records = []
    for point in kept:
        place = f"{folder}/step-{point.step}"
        (directory / place).mkdir(parents=True)
        record = CheckpointRecord(
            path=f"{place}/model.safetensors", learning_rate=point.learning_rate, step=point.step
        )
        save_tensors(directory / record.path, point.tensors)
        if point.second_moments:
            record.second_moments = f"{place}/second_moments.safetensors"
            save_tensors(directory / record.second_moments, point.second_moments)
        records.append(record)
    return records


def save_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file that transformers reads too (it insists on the ``format`` entry)."""
    save_file(dict(tensors), str(file), metadata={"format": "pt"})


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads meanwhile: tiny models are slower on many than on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
