"""How suspicious each training label looks, by what a trained model makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attribution.batches import gradient_batch_size
from attribution.capture import GradientCapture, gradient_stream
from attribution.capture.capture import ValueFunction
from attribution.curvature import automatic_damping, fit_ekfac
from attribution.curvature.store import FITTED_ON
from attribution.held_out import hold_out
from attribution.predictions import predict
from attribution.progress import Reporter
from attribution.task import Task

NEIGHBOURS = 10

_BATCH = 256

_GRADIENTS = 8
"""Examples whose whole gradients are turned into the curvature's eigenbasis at once."""


@dataclass(frozen=True)
class Suspect:
    """A trained model and the training labels that it was trained on.

    Args:
        task: says how the model is called.
        model: in evaluation mode, on ``device``.
        labels: class numbers (N,), which may differ from the task's.
        head: the layer that reads representations; None where there is none.
        looked_at: positions of the examples that detectors which cost a gradient each look at.
        seed: of all that is drawn.
        reporter: of the detector at work.
    """

    task: Task
    model: nn.Module
    labels: NDArray[np.int64]
    head: str | None
    looked_at: list[int]
    seed: int
    device: torch.device | str
    reporter: Reporter

    @cached_property
    def _seen(self) -> tuple[Tensor, Tensor | None]:
        return predict(
            self.task, self.model, "train", head=self.head, device=self.device, batch_size=_BATCH,
            reporter=self.reporter, message="Asking the model about every training example",
        )  # fmt: skip

    @property
    def losses(self) -> Tensor:
        """The training loss of each label, (N,)."""
        return self.task.loss(self._seen[0], torch.from_numpy(self.labels)).detach()

    @property
    def representations(self) -> NDArray[np.float32]:
        """(N, D)."""
        assert self._seen[1] is not None
        found: NDArray[np.float32] = self._seen[1].numpy()
        return found

    def loss_at(self, positions: Tensor) -> ValueFunction:
        """The training loss with these labels, for the examples at these positions (B,)."""
        own = torch.from_numpy(self.labels)[positions]
        return lambda logits, _: self.task.loss(logits, own.to(logits.device))


Detector = Callable[[Suspect], NDArray[np.floating]]
"""One number for each training example (N,), larger where its label looks wrong; NaN where it was not looked at."""


def loss(suspect: Suspect) -> NDArray[np.floating]:
    """The training loss of each example."""
    found: NDArray[np.floating] = suspect.losses.double().numpy()
    return found


def held_out(suspect: Suspect) -> NDArray[np.floating]:
    """One less the probability of each label by a last layer that was not shown it (`attribution.held_out`)."""
    classes = len(suspect.task.class_names)
    found = hold_out(suspect.representations, suspect.labels, classes, suspect.reporter)
    return 1.0 - found.of_label


def neighbours(suspect: Suspect) -> NDArray[np.floating]:
    """How much of the similarity to the ten nearest other examples is to such with another label."""
    rows = torch.nn.functional.normalize(torch.from_numpy(suspect.representations).float(), dim=1)
    labels = torch.from_numpy(suspect.labels)
    found = torch.empty(len(rows))
    for start in range(0, len(rows), _BATCH):
        part = slice(start, start + _BATCH)
        similar = rows[part] @ rows.T
        own = torch.arange(start, start + len(similar))
        similar[torch.arange(len(similar)), own] = -torch.inf
        nearest = similar.topk(min(NEIGHBOURS, len(rows) - 1), dim=1)
        weights = (nearest.values + 1) / 2
        other = labels[nearest.indices] != labels[part].unsqueeze(1)
        found[part] = (weights * other).sum(dim=1) / weights.sum(dim=1).clamp_min(1e-12)
    return found.double().numpy()


def self_influence(suspect: Suspect) -> NDArray[np.floating]:
    """g_iᵀ (H + λI)⁻¹ g_i by EK-FAC: how much each example holds up its own label (Koh and Liang 2017, § 5.4)."""
    task, size = suspect.task, len(suspect.labels)
    capture = GradientCapture(task, suspect.model)
    generator = np.random.default_rng([suspect.seed, 5])
    curvature = fit_ekfac(
        task,
        capture,
        device=suspect.device,
        batch_size=gradient_batch_size(task),
        positions=np.sort(generator.permutation(size)[:FITTED_ON]).tolist(),
        reporter=suspect.reporter.share(0.0, 0.3),
    )
    damping = automatic_damping(task).absolute(curvature.mean_eigenvalue())
    found = np.full(size, np.nan)
    stream = gradient_stream(
        task,
        capture,
        suspect.loss_at,
        positions=suspect.looked_at,
        batch_size=_GRADIENTS,
        device=suspect.device,
        reporter=suspect.reporter.share(0.3, 1.0),
        message="Influence of examples on themselves",
    )
    for positions, gradients in stream:
        found[positions.numpy()] = curvature.inverse_form(gradients.dense(), damping).cpu().numpy()
    return found


def random(suspect: Suspect) -> NDArray[np.floating]:
    """Random numbers, to compare with."""
    return np.random.default_rng([suspect.seed, 6]).random(len(suspect.labels))


DETECTORS: Mapping[str, Detector] = {
    "loss": loss,
    "held_out": held_out,
    "neighbours": neighbours,
    "self_influence": self_influence,
    "random": random,
}

OF_REPRESENTATIONS = frozenset({"held_out", "neighbours"})
"""Detectors that need a layer that reads representations."""
