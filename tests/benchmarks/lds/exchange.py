"""What passes between this process and a peer's: the run as arrays one way, scores and seconds the other way.

Imports nothing of the engine, so that a peer's environment needs torch and numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .queries import measured


@dataclass(frozen=True)
class Problem:
    """A run as a peer sees it.

    Args:
        widths: of the MLP's layers.
        checkpoints: parameters by name, oldest first, the last one final.
        rates: learning rate at each checkpoint.
        inputs, labels: training examples (N, D) and (N,).
        query_inputs, true, predicted: (Q, D), (Q,), (Q,).
        measurement: "loss" or "margin", see `queries.measured`.
        damping: what our rule adds to every eigenvalue, for peers that have no rule of their own.
    """

    widths: list[int]
    checkpoints: list[dict[str, Tensor]]
    rates: list[float]
    inputs: Tensor
    labels: Tensor
    query_inputs: Tensor
    true: Tensor
    predicted: Tensor
    measurement: str
    damping: float

    def model(self, checkpoint: int = -1) -> nn.Sequential:
        """A fresh model with the parameters of a checkpoint, in evaluation mode."""
        layers = [m for i, o in pairwise(self.widths) for m in (nn.Linear(i, o), nn.ReLU())]
        model = nn.Sequential(*layers[:-1])
        model.load_state_dict(self.checkpoints[checkpoint])
        return model.eval()

    @property
    def coded_queries(self) -> Tensor:
        """True and predicted class in one label (Q,), for libraries that pass a label and nothing else."""
        return self.true + self.widths[-1] * self.predicted

    def measure_coded(self, logits: Tensor, coded: Tensor) -> Tensor:
        """The measurement (B,) of logits (B, C) with labels from `coded_queries`."""
        classes = self.widths[-1]
        return measured(logits, coded % classes, coded // classes, self.measurement)


def write_problem(file: Path, problem: Problem) -> None:
    """Store a problem as .npz."""
    arrays: dict[str, np.ndarray] = {
        "widths": np.array(problem.widths),
        "rates": np.array(problem.rates),
        "inputs": problem.inputs.numpy(),
        "labels": problem.labels.numpy(),
        "query_inputs": problem.query_inputs.numpy(),
        "true": problem.true.numpy(),
        "predicted": problem.predicted.numpy(),
        "measurement": np.array(problem.measurement),
        "damping": np.array(problem.damping),
    }
    for number, state in enumerate(problem.checkpoints):
        arrays |= {f"checkpoint{number}/{name}": tensor.numpy() for name, tensor in state.items()}
    np.savez(file, **arrays)


def read_problem(file: Path) -> Problem:
    """What `write_problem` stored."""
    with np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    tensors = {
        name: torch.tensor(arrays[name]) for name in ("inputs", "labels", "query_inputs", "true", "predicted")
    }
    return Problem(
        widths=arrays["widths"].tolist(),
        checkpoints=[_state(arrays, f"checkpoint{number}/") for number in range(len(arrays["rates"]))],
        rates=arrays["rates"].tolist(),
        measurement=str(arrays["measurement"]),
        damping=float(arrays["damping"]),
        **tensors,
    )


def _state(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): torch.tensor(array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


@dataclass(frozen=True)
class Answer:
    """A peer's scores (N, Q), in our sign; median processor seconds of one computation; and the library's version."""

    scores: Tensor
    seconds: float
    version: str


def write_answer(file: Path, answer: Answer) -> None:
    """Store an answer as .npz."""
    np.savez(
        file,
        scores=answer.scores.detach().numpy(),
        seconds=np.array(answer.seconds),
        version=np.array(answer.version),
    )


def read_answer(file: Path) -> Answer:
    """What `write_answer` stored."""
    with np.load(file) as stored:
        return Answer(torch.tensor(stored["scores"]), float(stored["seconds"]), str(stored["version"]))
