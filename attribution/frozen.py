"""Skipping the frozen first part of a model.

Fine-tuning often trains only the last layers. What the layers below compute for an example then never changes: not
between checkpoints, not between queries, not while fixing. It is computed once, stored, and replayed: the skipped
layers hand their input through, and the last of them gives the stored states.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attribution.batches import Batch, batch_count, batch_of, batches
from attribution.progress import Reporter
from attribution.projects.files import replacing, write_text
from attribution.task import Checkpoint, Task

SPLITS = ("train", "test")

LARGEST = 2**30
"""Bytes of stored states (both splits) up to which skipping is worth the disk."""

_SAME = 1e-5
"""Largest relative difference of logits with and without skipping."""


class FrozenPrefix:
    """The layers to skip and their stored states. `attach` and `build_in_memory` give it to a task.

    Args:
        skipped: module names in order of execution, all frozen; the last one's output is what is stored.
        states: stored outputs by split; a split that is missing goes through all layers.
    """

    def __init__(self, skipped: list[str], states: dict[str, States]) -> None:
        self.skipped = skipped
        self._states = states

    def covers(self, split: str) -> bool:
        """Whether there are states of this split."""
        return split in self._states

    def states(self, split: str, positions: Sequence[int], length: int) -> Tensor:
        """Stored states of some examples as one batch (B, length, D), zero where nothing is stored."""
        return self._states[split].batch(positions, length)

    @contextmanager
    def replaying(self, model: nn.Module, states: Tensor) -> Iterator[None]:
        """Within the block the model's skipped layers cost nothing."""
        modules = [model.get_submodule(name) for name in self.skipped]
        for module in modules[:-1]:
            module.__dict__["forward"] = _hand_through
        modules[-1].__dict__["forward"] = lambda *args, **kwargs: states
        try:
            yield
        finally:
            for module in modules:
                del module.__dict__["forward"]


def _hand_through(hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return hidden


class States:
    """Ragged states, in memory or on disk: example i owns ``rows[offsets[i]:offsets[i + 1]]``, rows being (T, D)."""

    def __init__(self, rows: NDArray[np.float32], offsets: NDArray[np.int64]) -> None:
        self._rows = rows
        self._offsets = offsets

    @classmethod
    def of(cls, parts: Sequence[Tensor]) -> States:
        """The states of one example after another, each (T_i, D)."""
        return cls(torch.cat(list(parts)).numpy(), np.cumsum([0, *map(len, parts)]))

    @classmethod
    def opened(cls, file: Path) -> States:
        """What `save` wrote, mapped into memory rather than read."""
        rows = np.load(file, mmap_mode="r", allow_pickle=False)
        return cls(rows, np.load(_offsets(file), allow_pickle=False))

    def save(self, file: Path) -> None:
        """Write rows and offsets, each atomically."""
        for target, array in ((_offsets(file), self._offsets), (file, self._rows)):
            with replacing(target) as temporary, temporary.open("wb") as handle:
                np.save(handle, array)

    def batch(self, positions: Sequence[int], length: int) -> Tensor:
        padded = np.zeros((len(positions), length, self._rows.shape[1]), self._rows.dtype)
        for row, position in enumerate(positions):
            start, end = self._offsets[position], self._offsets[position + 1]
            padded[row, : end - start] = self._rows[start:end]
        return torch.from_numpy(padded)


def attach(task: Task, directory: Path) -> None:
    """Let a task use the states stored in ``directory``, if there are any."""
    plan = directory / "skipped.json"
    if plan.exists():
        skipped = json.loads(plan.read_text(encoding="utf-8"))
        task.frozen = FrozenPrefix(skipped, {s: States.opened(directory / f"{s}.npy") for s in SPLITS})


def build(
    task: Task,
    model: nn.Module,
    directory: Path,
    *,
    device: torch.device | str,
    batch_size: int,
    reporter: Reporter,
) -> None:
    """Find what can be skipped, store its states for both splits, and attach them; does nothing where nothing can.

    Whether skipping is right is not assumed but tried: the logits of a batch have to come out the same.
    """
    skipped = skippable(task, model, device)
    if not skipped:
        return
    for number, split in enumerate(SPLITS):
        file = directory / f"{split}.npy"
        if not (file.exists() and _offsets(file).exists()):
            share = reporter.share(number / len(SPLITS), (number + 1) / len(SPLITS))
            _computed(task, model, skipped, split, device, batch_size, share).save(file)
    write_text(directory / "skipped.json", json.dumps(skipped))
    attach(task, directory)


def build_in_memory(
    task: Task,
    model: nn.Module,
    split: str,
    *,
    device: torch.device | str,
    batch_size: int,
    reporter: Reporter,
) -> None:
    """The same for one split and without a file: all that fine-tuning the layers after the frozen ones needs."""
    skipped = skippable(task, model, device)
    if skipped:
        states = _computed(task, model, skipped, split, device, batch_size, reporter)
        task.frozen = FrozenPrefix(skipped, {split: states})


def _computed(
    task: Task,
    model: nn.Module,
    skipped: list[str],
    split: str,
    device: torch.device | str,
    batch_size: int,
    reporter: Reporter,
) -> States:
    """The output of the last skipped layer for every example of a split, without the padding."""
    last = model.get_submodule(skipped[-1])
    size = task.size(split)
    parts: list[Tensor] = [torch.empty(0)] * size
    work = batches(task, split, batch_size)
    message = f"Reading {size:,} {split} examples through the frozen layers"
    for batch in reporter.track(work, batch_count(size, batch_size), message):
        lengths = _lengths(batch)
        states = _output(task, model, last, batch.to(device)).cpu()
        for row, position in enumerate(batch.positions.tolist()):
            parts[position] = states[row, : lengths[row]].clone()
    return States.of(parts)


def skippable(task: Task, model: nn.Module, device: torch.device | str) -> list[str]:
    """Names of the frozen layers that can be skipped, in order; empty where skipping would change the logits."""
    first = cast(Any, task.dataset("train"))[0][0]
    if not (isinstance(first, Mapping) and "attention_mask" in first):
        return []
    if not all(frozen_alike(model, checkpoint) for checkpoint in task.checkpoints):
        return []
    batch = batch_of(task, "train", _different_lengths(task)).to(device)
    for name, layers in model.named_modules():
        if not isinstance(layers, nn.ModuleList):
            continue
        frozen = 0
        while frozen < len(layers) and not any(p.requires_grad for p in layers[frozen].parameters()):
            frozen += 1
        skipped = [f"{name}.{number}" for number in range(frozen)]
        if skipped and _same(task, model, skipped, batch):
            width = _output(task, model, model.get_submodule(skipped[-1]), batch).shape[-1]
            tokens = sum(_token_count(task, split) for split in SPLITS)
            return skipped if tokens * width * 4 <= LARGEST else []
    return []


def frozen_alike(model: nn.Module, checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint gives the frozen parameters the values they have in the final model."""
    tensors = checkpoint.tensors()
    return all(
        torch.equal(tensors[name].to(parameter), parameter)
        for name, parameter in model.named_parameters()
        if name in tensors and not parameter.requires_grad
    )


def _token_count(task: Task, split: str) -> int:
    dataset = cast(Any, task.dataset(split))
    return sum(len(dataset[position][0]["attention_mask"]) for position in range(task.size(split)))


def _different_lengths(task: Task) -> list[int]:
    dataset = cast(Any, task.dataset("train"))
    some = range(min(task.size("train"), 64))
    ordered = sorted(some, key=lambda position: len(dataset[position][0]["attention_mask"]))
    return [ordered[0], ordered[len(ordered) // 2], ordered[-1]]


def _same(task: Task, model: nn.Module, skipped: list[str], batch: Batch) -> bool:
    modules = [model.get_submodule(name) for name in skipped]
    with torch.no_grad():
        plain, expected = _plain_states(task, model, modules, batch)
        if not plain or _feels_training(task, model, modules[-1], batch):
            return False
        states = _output(task, model, modules[-1], batch)
        lengths = _lengths(batch)
        for row, length in enumerate(lengths):
            states[row, length:] = 0  # what is stored has no padding
        try:
            with FrozenPrefix(skipped, {}).replaying(model, states):
                found = task.logits(model, batch.inputs)
        except (TypeError, ValueError, RuntimeError, AttributeError):
            return False  # the model does not hand its hidden states on as plain tensors
    return bool((found - expected).abs().max() <= _SAME * expected.abs().max().clamp_min(1.0))


def _plain_states(
    task: Task, model: nn.Module, modules: Sequence[nn.Module], batch: Batch
) -> tuple[bool, Tensor]:
    """Whether each of the modules hands on nothing but one tensor (B, T, D), and the logits."""
    outputs: list[Any] = []
    handles = [module.register_forward_hook(lambda *call: outputs.append(call[2])) for module in modules]
    try:
        logits = task.logits(model, batch.inputs)
    finally:
        for handle in handles:
            handle.remove()
    return all(isinstance(output, Tensor) and output.dim() == 3 for output in outputs), logits


def _feels_training(task: Task, model: nn.Module, last: nn.Module, batch: Batch) -> bool:
    """Whether a trained parameter has a part in the states: a table of positions that all layers read, say."""
    return _output(task, model, last, batch, gradients=True).requires_grad


class _ReachedError(Exception):
    """Raised by a hook to leave the model once the wanted layer has run."""


def _output(
    task: Task, model: nn.Module, module: nn.Module, batch: Batch, *, gradients: bool = False
) -> Tensor:
    """Output of a module for a batch; the layers after it are not run."""
    kept: list[Any] = []

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        kept.append(output.clone() if isinstance(output, Tensor) else output)
        raise _ReachedError

    handle = module.register_forward_hook(hook)
    try:
        with torch.set_grad_enabled(gradients):
            task.logits(model, batch.inputs)
    except _ReachedError:
        pass
    finally:
        handle.remove()
    return cast(Tensor, kept[0])


def _lengths(batch: Batch) -> list[int]:
    """Tokens of each example up to the last one that is attended to; what comes after it need not be stored."""
    mask = cast(Mapping[str, Tensor], batch.inputs)["attention_mask"]
    unattended = (mask != 0).int().flip(dims=[1]).argmax(dim=1)
    return [mask.shape[1] - int(count) for count in unattended]


def _offsets(file: Path) -> Path:
    return file.with_suffix(".offsets.npy")
