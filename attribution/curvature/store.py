"""Curvature of a project's points, fitted when first asked for and kept beside the index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from attribution.capture import GradientCapture
from attribution.curvature.damping import Damping, automatic_damping
from attribution.curvature.ekfac import EKFAC, fit_ekfac
from attribution.errors import ProjectError
from attribution.progress import Reporter
from attribution.task import Task
from attribution.trajectory import Point, Trajectory

FITTED_ON = 2000
"""Training examples that curvature is fitted on at most; a random choice of them, the same at every point."""

SEED = 0


class CurvatureStore:
    """EK-FAC at each point of a run.

    Args:
        task, trajectory: the loaded project.
        directory: where fitted curvature is kept.
        device, batch_size: how it is fitted.
    """

    def __init__(
        self, task: Task, trajectory: Trajectory, directory: Path, device: torch.device | str, batch_size: int
    ) -> None:
        self._task = task
        self._trajectory = trajectory
        self._directory = directory
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
            file = self._directory / f"point-{point.number}.ekfac.safetensors"
            if not file.exists():
                self._fit(point, reporter).save(file)
            try:
                self._loaded[point.number] = EKFAC.load(file).to(self._device)
            except Exception as error:  # safetensors has its own classes for each kind of damage
                raise ProjectError(
                    f"'{file}' is damaged: delete it; it is made again when needed."
                ) from error
        return self._loaded[point.number]

    def _fit(self, point: Point, reporter: Reporter) -> EKFAC:
        size = self._task.size("train")
        chosen = sorted(np.random.default_rng(SEED).permutation(size)[:FITTED_ON].tolist())
        return fit_ekfac(
            self._task,
            GradientCapture(self._task, self._trajectory.model_at(point)),
            device=self._device,
            batch_size=self._batch_size,
            seed=SEED,
            positions=chosen,
            reporter=reporter,
            message=f"Curvature at step {point.step}",
        )
