"""The one training run that all methods explain: its checkpoints, its data, and the queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .cache import load_arrays, save_arrays, setting_folder
from .data import Data, load_data
from .queries import Queries, mispredictions_first
from .settings import Setting
from .training import forward, train_many

SEED = 1


@dataclass(frozen=True)
class Run:
    """A trained model with six checkpoints, the last of them final.

    Args:
        parameters: of each checkpoint, weight (O, I) and bias (O,) of each layer in turn.
        steps, rates: of each checkpoint.
        positions: the test examples that are explained; ``predicted`` are the model's classes (Q,) for them.
        mispredictions: how many of all test examples the model gets wrong.
    """

    setting: Setting
    data: Data
    parameters: list[list[Tensor]]
    steps: list[int]
    rates: list[float]
    positions: list[int]
    predicted: Tensor
    mispredictions: int

    def queries(self, measurement: str) -> Queries:
        return Queries(self.positions, self.data.test_labels[self.positions], self.predicted, measurement)

    @property
    def query_inputs(self) -> Tensor:
        """(Q, D)."""
        return self.data.test_inputs[self.positions]


def trained_run(setting: Setting, cache: Path, fashion: Path | None = None, seed: int = SEED) -> Run:
    """The run of a setting, trained once and kept in the cache; ensembles have others, from other seeds."""
    data = load_data(setting, fashion)
    file = setting_folder(cache, setting) / ("run.npz" if seed == SEED else f"run-{seed}.npz")
    if not file.exists():
        save_arrays(file, _train(setting, data, seed))
    stored = load_arrays(file)
    return Run(
        setting=setting,
        data=data,
        parameters=[
            [torch.tensor(stored[f"checkpoint{c}_{p}"]) for p in range(2 * len(setting.layers))]
            for c in range(len(stored["steps"]))
        ],
        steps=stored["steps"].tolist(),
        rates=stored["rates"].tolist(),
        positions=stored["positions"].tolist(),
        predicted=torch.tensor(stored["predicted"]),
        mispredictions=int(stored["mispredictions"]),
    )


def _train(setting: Setting, data: Data, seed: int) -> dict[str, np.ndarray]:
    everything = torch.arange(setting.train_size).unsqueeze(0)
    final, snapshots = train_many(setting, data, everything, seed, keep=setting.checkpoint_steps)
    logits = forward(final, data.test_inputs.unsqueeze(0))[0]
    positions, predicted = mispredictions_first(logits, data.test_labels, setting.queries)
    arrays = {
        "steps": np.array([s.step for s in snapshots]),
        "rates": np.array([s.learning_rate for s in snapshots]),
        "positions": np.array(positions),
        "predicted": predicted[positions].numpy(),
        "mispredictions": np.array(int((predicted != data.test_labels).sum())),
    }
    for number, snapshot in enumerate(snapshots):
        for place, parameter in enumerate(snapshot.parameters):
            arrays[f"checkpoint{number}_{place}"] = parameter[0].numpy()
    return arrays
