"""`Task`: everything the engine needs to know about a trained classifier, in one dataclass.

A user who brings a model implements nothing else. Only what was trained is attributed: parameters with
``requires_grad=False`` are treated as constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Sized
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from attribution.errors import UsageError

if TYPE_CHECKING:
    from attribution.first_position import FirstPosition
    from attribution.frozen import FrozenPrefix

Inputs = Tensor | Mapping[str, Tensor]
"""A batch of inputs: one tensor (B, ...), or named tensors each (B, ...), passed as keyword arguments."""

FROZEN_STATES = "frozen_states"
"""Reserved input name: what the frozen first layers of the model give for each example."""

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, C), labels (B,)) -> per-example loss (B,), in nats for cross-entropy."""

MeasurementFunction = Callable[..., Tensor]
"""(logits (B, C), labels (B,)) -> one number per example (B,), differentiable; the labels may be left out."""


@dataclass(frozen=True)
class Checkpoint:
    """A point of the training run.

    Args:
        state_dict: parameters by name, or the path of a file that holds them: safetensors, or a state dict that
            ``torch.save`` wrote (`attribution.sources.weight_files`). Names that are absent keep the value they have
            in the final model (frozen parameters need not be stored again).
        learning_rate: step size in force at this point.
        step: number of optimizer steps taken before this point.
        second_moments: Adam's running means of squared gradients (torch's ``exp_avg_sq``, not corrected for their
            start at zero) of every trained parameter by name, or the path of a ``.safetensors`` file that holds them.
            `optimizer_second_moments` takes them from a torch optimizer. None for other optimizers, or where lost.
        prefix: of a file, what comes before the model's own names in it (``model.`` in those of Lightning); what does
            not start so is left aside.
    """

    state_dict: Mapping[str, Tensor] | str | Path
    learning_rate: float
    step: int
    second_moments: Mapping[str, Tensor] | str | Path | None = None
    prefix: str = ""

    @classmethod
    def from_file(
        cls,
        file: str | Path,
        *,
        learning_rate: float | None = None,
        step: int | None = None,
        prefix: str = "",
        model: nn.Module | None = None,
    ) -> Checkpoint:
        """A checkpoint in a file, with its step and learning rate from there where they are not given.

        Args:
            file: safetensors, or what ``torch.save`` wrote: a state dict, itself or under ``state_dict`` or ``model``.
                It is read as tensors and numbers, never as code.
            learning_rate, step: as in `Checkpoint`. A step may also be in the file's name.
            prefix: as in `Checkpoint`; found out where ``model`` is given.
            model: the checkpoint's weights are checked against it, and Adam's second moments taken from the optimizer's
                state in the file or, of the Trainer's, beside it, if there is one. Its trained parameters count.

        Raises:
            ProjectError: unreadable, a pickle with code in it, of another architecture, or without step or rate.
        """
        from attribution.sources.checkpoint_files import checkpoint_from

        return checkpoint_from(file, learning_rate=learning_rate, step=step, prefix=prefix, model=model)

    def tensors(self) -> Mapping[str, Tensor]:
        """The parameters, read from disk if the checkpoint is a path.

        Raises:
            ProjectError: there is no readable file of weights.
        """
        return _tensors(self.state_dict, self.prefix)

    def corrected_moments(self, decay: float) -> dict[str, Tensor] | None:
        """Second moments corrected for their start at zero, v / (1 - β₂^step), in float32; None where not given."""
        if self.second_moments is None:
            return None
        share = 1 - decay ** max(self.step, 1)
        return {name: moment.float() / share for name, moment in _tensors(self.second_moments).items()}


@dataclass(frozen=True)
class TrainedModel:
    """Another model of the same architecture, trained on the same data from another seed.

    Args:
        state_dict: its final parameters by name, or the path of a ``.safetensors`` file; absent names keep the value
            they have in the task's model.
        checkpoints: points of its training run, as in `Task`.
    """

    state_dict: Mapping[str, Tensor] | str | Path
    checkpoints: Sequence[Checkpoint] = ()

    def tensors(self) -> Mapping[str, Tensor]:
        """The final parameters, read from disk if they are a path.

        Raises:
            ProjectError: there is no readable safetensors file.
        """
        return _tensors(self.state_dict)


def _tensors(given: Mapping[str, Tensor] | str | Path, prefix: str = "") -> Mapping[str, Tensor]:
    if isinstance(given, Mapping):
        return given
    from attribution.sources.weight_files import read_tensors

    return read_tensors(given, prefix)


def optimizer_second_moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copies of the second moments that torch's Adam or AdamW keeps, by parameter name: for `Checkpoint`.

    Parameters that never had a gradient have zeros; other optimizers give an empty dict.
    """
    kept = {p: state["exp_avg_sq"] for p, state in optimizer.state.items() if "exp_avg_sq" in state}
    if not kept:
        return {}
    return {
        name: kept[p].detach().clone() if p in kept else torch.zeros_like(p, requires_grad=False)
        for name, p in model.named_parameters()
        if p.requires_grad
    }


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Per-example cross-entropy in nats, shape (B,)."""
    return nn.functional.cross_entropy(logits, labels, reduction="none")


@dataclass
class Task:
    """A trained model, its data, and how it was trained.

    Args:
        model: maps a batch of inputs to logits (B, C), or to an object with a ``logits`` attribute (transformers).
        train, test: map-style datasets with items ``(input, label)``; ``input`` is a tensor or a dict of tensors,
            ``label`` an integer class.
        class_names: one name per logit, in order.
        checkpoints: points of the training run, oldest first; the last one usually equals the final model.
        optimizer: ``"sgd"``, ``"adam"`` (weight decay is part of the gradient), ``"adamw"`` (weight decay is taken
            off the parameters) or ``"unknown"``.
        momentum, weight_decay, batch_size, learning_rate, steps: the training record; ``steps`` is the number of
            optimizer steps of the whole run, ``learning_rate`` its peak. None where unknown.
        loss: the per-example training loss; cross-entropy by default.
        train_ids, test_ids: stable ids as text; row numbers by default. Unique within each split.
        train_metadata, test_metadata: further columns to show with the examples (name -> one value per example).
            A train column ``original_label`` marks planted label errors where it differs from the label.
        display: turns one dataset input into what a person looks at: text, a `PIL.Image.Image`, or an array
            (H, W) or (H, W, 3) with values 0..255.
        train_display, test_display: the same, precomputed: one text, image or PNG file (bytes) per example.
        collate: turns a list of inputs into one batch; stacks tensors and pads text by default.
        representation: name of the module whose *input* is the representation; the last Linear by default.
        ensemble: further models, trained the same way from other seeds: scores can be averaged over all of them.
        measurements: further quantities of a test example that can be explained, by name; the first line of a
            function's docstring is shown with it.
        betas, epsilon: Adam's decay rates and the constant in its denominator; torch's defaults.
        learning_rates: learning rate by step, as far as a log has it beyond the checkpoints' own; taken as linear in
            between. Without it the run starts at ``learning_rate``.
        initial: seed -> the weights that training starts from with that seed, by name; of frozen parameters those of
            ``model`` are taken. With it `attribution.retraining` repeats the whole run, without it what came after the
            earliest checkpoint.
        token_spans: of texts: text as shown -> (start, end) of each of its tokens, in characters and in the order in
            which the model reads them; equal ones for a token that stands for no part of it (padding, say). With it the
            words that the model looked at are shown.
    """

    model: nn.Module
    train: Dataset[Any]
    test: Dataset[Any]
    class_names: Sequence[str]
    checkpoints: Sequence[Checkpoint] = ()
    optimizer: str = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 64
    learning_rate: float | None = None
    steps: int | None = None
    loss: LossFunction = cross_entropy
    train_ids: Sequence[str] | None = None
    test_ids: Sequence[str] | None = None
    train_metadata: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    test_metadata: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    display: Callable[[Any], Any] | None = None
    train_display: Sequence[Any] | None = None
    test_display: Sequence[Any] | None = None
    collate: Callable[[list[Any]], Inputs] | None = None
    representation: str | None = None
    ensemble: Sequence[TrainedModel] = ()
    measurements: Mapping[str, MeasurementFunction] = field(default_factory=dict)
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    learning_rates: Mapping[int, float] = field(default_factory=dict)
    initial: Callable[[int], Mapping[str, Tensor]] | None = None
    token_spans: Callable[[str], Sequence[tuple[int, int]]] | None = None
    frozen: FrozenPrefix | None = field(default=None, init=False, repr=False)
    """Stored states of the frozen first layers, where there are any (attribution.frozen)."""
    first_position: FirstPosition | None = field(default=None, init=False, repr=False, compare=False)
    """Layers that need to compute only the first token, once they were looked for (attribution.first_position)."""
    general_layers: dict[tuple[str, ...], frozenset[str]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Names of the layers that gradients are taken of by the general path, by the names of the trained parameters;
    found out once (attribution.capture.trial)."""

    def __post_init__(self) -> None:
        self.class_names = [str(name) for name in self.class_names]
        self.checkpoints = sorted(self.checkpoints, key=lambda checkpoint: checkpoint.step)
        self.train_ids = _checked_ids("train", self.train_ids, self.size("train"))
        self.test_ids = _checked_ids("test", self.test_ids, self.size("test"))
        if len(self.class_names) < 2:
            raise UsageError(
                "A task needs at least two class names: pass class_names with one name per logit."
            )
        if not all(isinstance(trained, TrainedModel) for trained in self.ensemble):
            raise UsageError("Each further model of an ensemble is a TrainedModel(state_dict, checkpoints).")
        self.optimizer = self.optimizer.lower()
        for name, function in self.measurements.items():
            _check_measurement(name, function)
        if self.optimizer not in {"sgd", "adam", "adamw", "unknown"}:
            raise UsageError(
                f"Optimizer '{self.optimizer}' is not one of 'sgd', 'adam' and 'adamw': say 'unknown' for any other."
            )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas) or not self.epsilon >= 0:
            raise UsageError("Adam's two betas must lie in [0, 1), and its epsilon must not be negative.")
        rates = [
            *(checkpoint.learning_rate for checkpoint in self.checkpoints),
            *self.learning_rates.values(),
        ]
        if not all(math.isfinite(number) and number >= 0 for number in (*rates, self.weight_decay)):
            raise UsageError(
                "Learning rates and weight decay must be finite and not negative: mend the record."
            )

    def dataset(self, split: str) -> Dataset[Any]:
        """The dataset of ``"train"`` or ``"test"``."""
        return self.train if split == "train" else self.test

    def size(self, split: str) -> int:
        """Number of examples in a split."""
        return len(cast(Sized, self.dataset(split)))

    def ids(self, split: str) -> list[str]:
        """Stable ids of a split, in dataset order."""
        return list(cast(Sequence[str], self.train_ids if split == "train" else self.test_ids))

    def logits(self, model: nn.Module, inputs: Inputs) -> Tensor:
        """Logits (B, C) of a batch."""
        if isinstance(inputs, Mapping) and self.frozen is not None and FROZEN_STATES in inputs:
            others = {name: tensor for name, tensor in inputs.items() if name != FROZEN_STATES}
            with self.frozen.replaying(model, inputs[FROZEN_STATES]):
                return self.logits(model, others)
        shortened = nullcontext() if self.first_position is None else self.first_position.alone(model)
        with shortened:
            output = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
        return output if isinstance(output, Tensor) else cast(Tensor, output.logits)

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """Names and parameters that attribution covers, shared ones once."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def _checked_ids(split: str, ids: Sequence[str] | None, size: int) -> list[str]:
    if ids is None:
        return [str(position) for position in range(size)]
    result = [str(value) for value in ids]
    if len(result) != size:
        raise UsageError(
            f"There are {len(result)} {split} ids for {size} {split} examples: give one id each."
        )
    if len(set(result)) != size:
        seen: set[str] = set()
        double = next(value for value in result if value in seen or seen.add(value))  # type: ignore[func-returns-value]
        raise UsageError(
            f"The {split} id '{double}' occurs more than once: ids must be unique within a split."
        )
    return result


def _check_measurement(name: str, function: MeasurementFunction) -> None:
    taken = name in {"", "margin", "loss"} or name.startswith("logit:") or ".py:" in name
    if taken or name != name.strip():
        raise UsageError(
            f"A measurement cannot be called '{name}': margin, loss, logit:CLASS and FILE.py:FUNCTION have their "
            "meaning already; choose another name."
        )
    if not callable(function):
        raise UsageError(f"The measurement '{name}' is no function: write it as f(logits, labels).")


def move(inputs: Inputs, device: torch.device | str) -> Inputs:
    """The same batch on another device."""
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    return {name: tensor.to(device) for name, tensor in inputs.items()}
