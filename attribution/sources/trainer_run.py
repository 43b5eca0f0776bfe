"""The training record that the transformers Trainer leaves beside a checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attribution.errors import ProjectError
from attribution.projects import TrainingRecord
from attribution.sources.optimizer_state import OptimizerState
from attribution.sources.schedule import Rates, completed
from attribution.sources.trainer_folder import OPTIMIZER, STATE


@dataclass(frozen=True)
class TrainerRun:
    """A run up to one of its checkpoints.

    Args:
        steps: optimizer steps taken.
        rates: learning rate by step; empty where the log has none.
        batch_size: examples per step over all processes; None where unknown.
        state: the optimizer as it was at the last checkpoint; None where it is not there.
    """

    steps: int
    rates: Rates
    batch_size: int | None
    state: OptimizerState | None

    def rate(self, step: int) -> float:
        """The learning rate at a step; 1 where the log has none, so that all checkpoints count the same."""
        return float(np.interp(step, list(self.rates), list(self.rates.values()))) if self.rates else 1.0

    def record(self) -> TrainingRecord:
        """What the manifest says of the run.

        Without any learning rate the optimizer counts as unknown: nothing says how far its steps went.
        """
        record = TrainingRecord(
            optimizer="unknown",
            steps=self.steps,
            learning_rate=max(self.rates.values(), default=None),
            learning_rates=self.rates,
        )
        if self.batch_size is not None:
            record.batch_size = self.batch_size
        if self.state is not None and self.rates:
            record.optimizer = self.state.optimizer
            record.momentum = self.state.momentum
            record.weight_decay = self.state.weight_decay
        if self.state is not None and record.optimizer in ("adam", "adamw"):
            record.betas, record.epsilon = self.state.betas, self.state.epsilon
        return record


def read_run(folder: Path, examples: int | None = None) -> TrainerRun | None:
    """The run up to a checkpoint folder; None where the Trainer left no record there.

    Args:
        folder: the last checkpoint.
        examples: of the training data, from which gradient accumulation is told.

    Raises:
        ProjectError: a record is damaged, or the optimizer's state holds anything but tensors and numbers.
    """
    file = folder / STATE
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        steps, total = int(record["global_step"]), int(record.get("max_steps") or 0)
        logged = {
            int(row["step"]): float(row["learning_rate"])
            for row in record["log_history"]
            if isinstance(row.get("learning_rate"), int | float) and "step" in row
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProjectError(
            f"'{file}' is damaged ({error!r}): restore it, or move it away to go without."
        ) from error
    state = OptimizerState.read(folder / OPTIMIZER) if (folder / OPTIMIZER).is_file() else None
    return TrainerRun(
        steps,
        _rates(logged, steps, max(total, steps), state),
        _batch_size(record, folder, examples),
        state,
    )


def _rates(logged: Rates, steps: int, total: int, state: OptimizerState | None) -> Rates:
    if state is None or state.peak_rate is None:
        return completed(logged, total, None)
    known = dict(logged)
    if steps in logged and logged[steps] == state.next_rate and len(set(logged.values())) > 1:
        # Older versions log the rate that the schedule has moved on to.
        known = {step + 1: rate for step, rate in logged.items() if step < total}
    if steps < total:
        known[steps + 1] = state.next_rate
    return completed(known, total, state.peak_rate)


def _batch_size(record: dict[str, Any], folder: Path, examples: int | None) -> int | None:
    """Examples per optimizer step: per process, times processes, times batches whose gradients are added up."""
    own = record.get("train_batch_size")
    if not isinstance(own, int) or own < 1:
        return None
    size = own * max(len(list(folder.glob("rng_state_*.pth"))), 1)
    paces = [
        float(row["step"]) / float(row["epoch"])
        for row in record["log_history"]
        if row.get("epoch") and row.get("step")
    ]
    if examples is None or not paces:
        return size
    return size * max(round(-(-examples // size) / paces[-1]), 1)
