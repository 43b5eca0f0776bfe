"""Curvature of a project's points, fitted when first asked for and kept beside the index."""

from __future__ import annotations

import numpy as np
import torch

from attribution.capture import GradientCapture
from attribution.curvature.conjugate_gradient import ConjugateGradient
from attribution.curvature.damping import Damping, automatic_damping
from attribution.curvature.ekfac import EKFAC, fit_ekfac
from attribution.curvature.gauss_newton import GaussNewton
from attribution.progress import Reporter
from attribution.projects.ledger import Ledger
from attribution.task import Task
from attribution.trajectory import Point, Trajectory

FITTED_ON = 1000
"""Training examples that curvature is fitted on at most; a random choice of them, the same at every point."""

PROBES, MOST_DRAWS = 2000, 8
"""Random gradients that small data is worth: with fewer examples than these, each gives several, within reason."""

REFINED_ON = 10_000
"""Training examples that the exact products of a refined solve are the mean over at most."""

SEED = 0


class CurvatureStore:
    """EK-FAC at each point of a run.

    Args:
        task, trajectory: the loaded project.
        ledger: of the folder where fitted curvature is kept.
        device, batch_size: how it is fitted.
    """

    def __init__(
        self, task: Task, trajectory: Trajectory, ledger: Ledger, device: torch.device | str, batch_size: int
    ) -> None:
        self._task = task
        self._trajectory = trajectory
        self._ledger = ledger
        self._device = device
        self._batch_size = batch_size
        self._loaded: dict[int, EKFAC] = {}
        self.damping: Damping = automatic_damping(task)

    def at(self, point: Point, reporter: Reporter) -> EKFAC:
        """The curvature at a point.

        Raises:
            ProjectError: the stored file is damaged, or the folder cannot be written.
        """
        if point.number not in self._loaded:
            name = f"point-{point.number}/curvature.safetensors"
            if name not in self._ledger.files:
                self._fit(point, reporter).save(self._ledger.directory / name)
                self._ledger.add(name)
            self._loaded[point.number] = EKFAC.load(self._ledger.verified(name)).to(self._device)
        return self._loaded[point.number]

    @staticmethod
    def description() -> dict[str, int]:
        """What the fitted curvature depends on, beside model and data."""
        return {"fitted_on": FITTED_ON, "probes": PROBES, "seed": SEED}

    def refined(self, point: Point, reporter: Reporter) -> ConjugateGradient:
        """A solver with the Gauss-Newton matrix itself at a point, preconditioned by EK-FAC."""
        matrix = GaussNewton(
            self._task,
            GradientCapture(self._task, self._trajectory.model_at(point)),
            device=self._device,
            batch_size=self._batch_size,
            positions=self._some(REFINED_ON),
        )
        return ConjugateGradient(matrix, self.at(point, reporter), reporter=reporter)

    def _fit(self, point: Point, reporter: Reporter) -> EKFAC:
        positions = self._some(FITTED_ON)
        return fit_ekfac(
            self._task,
            GradientCapture(self._task, self._trajectory.model_at(point)),
            device=self._device,
            batch_size=self._batch_size,
            seed=SEED,
            positions=positions,
            draws=min(max(PROBES // self._task.size("train"), 1), MOST_DRAWS),
            reporter=reporter,
            message=f"Curvature at step {point.step}",
        )

    def _some(self, count: int) -> list[int]:
        size = self._task.size("train")
        return sorted(np.random.default_rng(SEED).permutation(size)[:count].tolist())
