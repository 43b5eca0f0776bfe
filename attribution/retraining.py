"""Training a model again as its record says, with or without changes to the training data.

The same seed gives the same initial weights, the same batches and the same dropout, whatever is changed in the data:
two retrainings of one seed differ by the changes alone. What the record does not say (clipped gradients, random
augmentation outside the dataset) is not repeated.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attribution.batch_order import shuffled_batches, similar_length_batches
from attribution.batches import batch_of, evaluation_copy, load_weights
from attribution.errors import MissingRequirementError, NumericalError, ProjectError, TracefixError
from attribution.fixing.optimization import Optimization
from attribution.layout import use_fast_layout
from attribution.learning_rates import rates_of_steps
from attribution.progress import SILENT, Reporter
from attribution.sources.python_function import describe
from attribution.task import Checkpoint, Task, TrainedModel
from attribution.turnover import masked, turnover_layers

REPORT_EVERY_SECONDS = 0.1
"""Often enough for a cancellation to feel immediate, rarely enough to cost nothing."""

_SEEDS_APART = 1_000_003
"""Seeds of the random draws of two runs are so far apart that no step of one uses a step's draws of the other."""


@dataclass(frozen=True)
class TrainingRecipe:
    """What is repeated of a run.

    Args:
        optimization: the optimizer and its settings.
        rates: learning rate of each step that is taken, (steps - from_step,).
        batch_size: of each step.
        from_step: the step at which it starts: 0 for the whole run.
        steps: optimizer steps of the whole run.
        start: the checkpoint that it starts from; None for the task's initial weights.
    """

    optimization: Optimization
    rates: NDArray[np.float64]
    batch_size: int
    from_step: int
    steps: int
    start: Checkpoint | None

    @classmethod
    def of(cls, task: Task) -> TrainingRecipe:
        """From the beginning where the task says its initial weights, else from its earliest checkpoint.

        Raises:
            MissingRequirementError: the record lacks the optimizer, the steps, the learning rates, or a start.
        """
        if task.optimizer == "unknown":
            raise _too_poor("which optimizer trained it", "optimizer='sgd', 'adam' or 'adamw'")
        steps = task.steps or (task.checkpoints[-1].step if task.checkpoints else 0)
        if not steps:
            raise _too_poor("how many steps it was trained for", "steps=")
        start = None if task.initial is not None or not task.checkpoints else task.checkpoints[0]
        if task.initial is None and (start is None or start.step >= steps):
            raise _too_poor(
                "what training started from", "initial= (or --initial), or a checkpoint from before its end"
            )
        from_step = 0 if start is None else start.step
        rates = rates_of_steps(task, from_step + 1, steps)
        if rates is None:
            raise _too_poor("the learning rate", "learning_rate=")
        moments = None if start is None else start.corrected_moments(task.betas[1])
        return cls(Optimization.of(task, moments), rates, task.batch_size, from_step, steps, start)

    def on_share(self, share: float) -> TrainingRecipe:
        """As many epochs over a share of the data: so much fewer steps, along the same course of the learning rate."""
        steps = max(round(len(self.rates) * share), 1)
        places = ((np.arange(steps) + 0.5) / steps * len(self.rates)).astype(np.int64)
        return replace(self, rates=self.rates[places], steps=self.from_step + steps)


def _too_poor(lacks: str, remedy: str) -> MissingRequirementError:
    return MissingRequirementError(
        f"The model cannot be trained again, because its record does not say {lacks}: give {remedy} in the Task or "
        "project.json."
    )


@dataclass(frozen=True)
class DataChanges:
    """What is otherwise in the training data: weights and labels by position.

    Weight 2 is as if the example stood in the data twice, weight 0 as if it were not there; it keeps its place in its
    batch, so that the order stays the same, and BatchNorm still sees it.
    """

    weights: Mapping[int, float] = field(default_factory=dict)
    labels: Mapping[int, int] = field(default_factory=dict)

    def apply(self, positions: Sequence[int], labels: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (B,) and labels (B,) of a batch with these positions and labels."""
        weights = torch.tensor([float(self.weights.get(position, 1.0)) for position in positions])
        if self.labels:
            labels = torch.tensor(
                [self.labels.get(p, own) for p, own in zip(positions, labels.tolist(), strict=True)]
            )
        return weights, labels


NO_CHANGES = DataChanges()


def retrain(
    task: Task,
    recipe: TrainingRecipe,
    seed: int,
    changes: DataChanges = NO_CHANGES,
    *,
    members: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    reporter: Reporter = SILENT,
    message: str = "Training again",
) -> nn.Module:
    """A new model, in evaluation mode, trained by the recipe on the changed data.

    In training mode: dropout is on and BatchNorm learns its statistics. A step goes down on the mean over the batch of
    weight times loss. Batches are shuffled anew each epoch; texts of similar length share a batch.

    Args:
        members: training positions to train on, as if there were no others; all without it.

    Raises:
        NumericalError: the loss became NaN or infinite.
        ProjectError: the initial weights do not fit, or the function that gives them fails.
        Cancelled: the user asked for a stop.
    """
    model = evaluation_copy(task, device)
    _start(task, recipe, model, seed)
    use_fast_layout(task, model)
    task = _stochastic_layers_kept(task)
    optimizer = recipe.optimization.start(model, float(recipe.rates[0]))
    layers, ids = turnover_layers(model), task.ids("train")
    chosen = np.arange(task.size("train")) if members is None else np.asarray(members, dtype=np.int64)
    order = batch_order(task, chosen, recipe.batch_size, seed)
    model.train()
    where = torch.device(device)
    cuda = [where] if where.type == "cuda" else []
    reported = -float("inf")
    with torch.random.fork_rng(devices=cuda), torch.enable_grad():
        for step, rate in enumerate(recipe.rates.tolist(), start=recipe.from_step + 1):
            positions = chosen[next(order).numpy()].tolist()
            batch = batch_of(task, "train", positions)
            weights, labels = changes.apply(positions, batch.labels)
            batch = batch.to(device)
            # Seeded at every step: what else draws random numbers in this process then changes nothing here.
            torch.manual_seed(seed * _SEEDS_APART + step)
            with masked(model, [ids[p] for p in positions]) if layers else nullcontext():
                losses = task.loss(task.logits(model, batch.inputs), labels.to(device))
            loss = (losses * weights.to(losses)).sum() / len(positions)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if time.monotonic() - reported >= REPORT_EVERY_SECONDS or step == recipe.steps:
                reporter((step - recipe.from_step) / len(recipe.rates), message)
                reported = time.monotonic()
                if not bool(torch.isfinite(loss)):
                    raise NumericalError(
                        f"Training again diverged at step {step}: check the learning rates of the training record; "
                        "nothing was changed."
                    )
    return model.eval()


def initial_weights(task: Task, seed: int) -> dict[str, Tensor]:
    """What `Task.initial` gives for a seed, without the frozen parameters; leaves the caller's random numbers alone.

    Raises:
        ProjectError: the function fails.
    """
    assert task.initial is not None
    frozen = {name for name, p in task.model.named_parameters() if not p.requires_grad}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            given = task.initial(seed)
            return {name: tensor.detach() for name, tensor in given.items() if name not in frozen}
        except TracefixError:
            raise
        except Exception as error:
            raise ProjectError(
                f"The function that gives the initial weights fails ({describe(error)}): mend initial= and try again."
            ) from error


def _start(task: Task, recipe: TrainingRecipe, model: nn.Module, seed: int) -> None:
    if recipe.start is not None:
        load_weights(model, recipe.start, f"checkpoint of step {recipe.start.step}")
        return
    weights = initial_weights(task, seed)
    absent = task.trained_parameters().keys() - weights.keys()
    if absent:
        raise ProjectError(
            f"The initial weights lack the trained parameter '{min(absent)}': give every parameter that was trained."
        )
    load_weights(model, TrainedModel(weights), "set of initial weights")


def _stochastic_layers_kept(task: Task) -> Task:
    """The task without stored states of frozen layers that are random in training mode: dropout has to be drawn."""
    if task.frozen is None:
        return task
    skipped = [task.model.get_submodule(name) for name in task.frozen.skipped]
    draws = any(_draws(module) for layer in skipped for module in layer.modules())
    return replace(task) if draws else task


def _draws(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0


def batch_order(task: Task, chosen: NDArray[np.int64], batch_size: int, seed: int) -> Iterator[Tensor]:
    """Batches of places in ``chosen``, training positions, without end."""
    dataset = cast(Any, task.train)
    first = dataset[0][0]
    if isinstance(first, Mapping) and "input_ids" in first:
        lengths = [len(dataset[position][0]["input_ids"]) for position in chosen.tolist()]
        return similar_length_batches(lengths, batch_size, seed)
    return shuffled_batches(len(chosen), batch_size, seed)
