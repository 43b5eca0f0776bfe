"""Curvature of a project's points, fitted when first asked for and kept beside the index."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from attribution.capture import GradientCapture
from attribution.curvature.arnoldi import Arnoldi, fit_arnoldi
from attribution.curvature.conjugate_gradient import ConjugateGradient
from attribution.curvature.damping import Damping, automatic_damping
from attribution.curvature.datainf import DataInf
from attribution.curvature.ekfac import EKFAC, fit_mean_ekfac
from attribution.curvature.exact import ExactCurvature, fit_exact
from attribution.curvature.gauss_newton import GaussNewton
from attribution.curvature.lissa import Lissa
from attribution.curvature.preconditioner import preconditioner
from attribution.curvature.protocol import Inverse
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

PRECONDITIONER_DAMPING = 10.0
"""Least damping of EK-FAC as a preconditioner, times its mean eigenvalue.

EK-FAC is fitted on fewer examples than a refined solve has: a word that none of them has looks as if it had no
curvature, and with λ alone the steps along it are far too long. Measured: 49 iterations instead of 143 on `wordbias`,
27 instead of 34 on `digits`.
"""

LISSA_STEPS = 500
"""Steps of the LiSSA recursion, each a product over `FITTED_ON` examples."""

Solver = Literal["ekfac", "cg", "lissa", "exact", "datainf", "arnoldi"]
"""Ways of applying (H + λI)⁻¹."""

SEED = 0


class CurvatureStore:
    """Curvature at each point of a run: EK-FAC, kept beside the index, and the other ways of inverting.

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
        self._loaded: dict[str, EKFAC] = {}
        self._eigenpairs: dict[str, Arnoldi] = {}
        self._exact: tuple[int, ExactCurvature] | None = None
        self._preconditioners: dict[tuple[int, ...], dict[str, Tensor]] = {}
        self.damping: Damping = automatic_damping(task)

    def at(self, point: Point, reporter: Reporter) -> EKFAC:
        """The curvature at a point.

        Raises:
            ProjectError: the stored file is damaged, or the folder cannot be written.
        """
        return self._fitted(f"point-{point.number}/curvature.safetensors", [point], reporter)

    def over(self, points: Sequence[Point], reporter: Reporter) -> EKFAC:
        """The mean curvature of several points, in one basis.

        Raises:
            As `at`.
        """
        if len(points) == 1:
            return self.at(points[0], reporter)
        numbers = "-".join(str(point.number) for point in points)
        return self._fitted(f"points-{numbers}/curvature.safetensors", points, reporter)

    def preconditioner(self, points: Sequence[Point]) -> dict[str, Tensor]:
        """Adam's preconditioner over several points, by block; see `curvature.preconditioner`."""
        key = tuple(point.number for point in points)
        if key not in self._preconditioners:
            capture = self._capture(self._trajectory.final)
            self._preconditioners[key] = preconditioner(self._task, capture, points, self._device)
        return self._preconditioners[key]

    def _fitted(self, name: str, points: Sequence[Point], reporter: Reporter) -> EKFAC:
        if name not in self._loaded:
            if name not in self._ledger.files:
                self._fit(points, reporter).save(self._ledger.directory / name)
                self._ledger.add(name)
            self._loaded[name] = EKFAC.load(self._ledger.verified(name)).to(self._device)
        return self._loaded[name]

    @staticmethod
    def description() -> dict[str, int]:
        """What the fitted curvature depends on, beside model and data."""
        return {"fitted_on": FITTED_ON, "probes": PROBES, "seed": SEED}

    def damping_at(self, point: Point, solver: Solver, reporter: Reporter) -> float:
        """λ at a point for a solver, in the curvature's unit."""
        rule = self.damping.refined() if solver in ("exact", "cg", "lissa") else self.damping
        return rule.absolute(self.at(point, reporter).mean_eigenvalue()) if rule.relative else rule.value

    def solver(
        self, name: Solver, point: Point, reporter: Reporter, *, examples: int = REFINED_ON
    ) -> Inverse:
        """A way of applying (H + λI)⁻¹ at a point. Valid until the model is moved to another point.

        Args:
            examples: how many training examples conjugate gradients look at, at most.

        Raises:
            ProjectError: a stored file is damaged, or the folder cannot be written.
        """
        if name == "ekfac":
            return self.at(point, reporter)
        if name == "exact":
            return self._exact_at(point, reporter)
        if name == "arnoldi":
            return self._arnoldi_at(point, reporter)
        if name == "datainf":
            return DataInf(
                self._task,
                self._capture(point),
                device=self._device,
                batch_size=self._batch_size,
                positions=self._some(REFINED_ON),
                reporter=reporter,
            )
        if name == "lissa":
            matrix = self._matrix(point, FITTED_ON)
            return Lissa(matrix, steps=LISSA_STEPS, must_converge=False, reporter=reporter)
        preconditioner = self.at(point, reporter)
        return ConjugateGradient(
            self._matrix(point, examples),
            preconditioner,
            reporter=reporter,
            least_preconditioner_damping=PRECONDITIONER_DAMPING * preconditioner.mean_eigenvalue(),
        )

    def _exact_at(self, point: Point, reporter: Reporter) -> ExactCurvature:
        # One point at a time: the dense matrix may take most of a gigabyte.
        if self._exact is None or self._exact[0] != point.number:
            found = fit_exact(
                self._task,
                self._capture(point),
                device=self._device,
                batch_size=self._batch_size,
                reporter=reporter,
            )
            self._exact = point.number, found
        return self._exact[1]

    def _arnoldi_at(self, point: Point, reporter: Reporter) -> Arnoldi:
        name = f"point-{point.number}/arnoldi.safetensors"
        if name not in self._eigenpairs:
            if name not in self._ledger.files:
                found = fit_arnoldi(
                    self._matrix(point, FITTED_ON).product,
                    self._capture(point).shapes,
                    seed=SEED,
                    device=self._device,
                    reporter=reporter,
                )
                found.save(self._ledger.directory / name)
                self._ledger.add(name)
            self._eigenpairs[name] = Arnoldi.load(self._ledger.verified(name)).to(self._device)
        return self._eigenpairs[name]

    def _matrix(self, point: Point, examples: int) -> GaussNewton:
        return GaussNewton(
            self._task,
            self._capture(point),
            device=self._device,
            batch_size=self._batch_size,
            positions=self._some(examples),
        )

    def _capture(self, point: Point) -> GradientCapture:
        return GradientCapture(self._task, self._trajectory.model_at(point))

    def _fit(self, points: Sequence[Point], reporter: Reporter) -> EKFAC:
        positions, draws = fitted_on(self._task)
        steps = " to ".join(dict.fromkeys(str(point.step) for point in (points[0], points[-1])))
        return fit_mean_ekfac(
            self._task,
            [partial(self._capture, point) for point in points],
            device=self._device,
            batch_size=self._batch_size,
            seed=SEED,
            positions=positions,
            draws=draws,
            reporter=reporter,
            message=f"Curvature at step {steps}",
        )

    def _some(self, count: int) -> list[int]:
        return random_positions(self._task, count)


def fitted_on(task: Task) -> tuple[list[int], int]:
    """The training examples (rows) that curvature is fitted on, and how many random gradients of each."""
    draws = min(max(PROBES // task.size("train"), 1), MOST_DRAWS)
    return random_positions(task, FITTED_ON), draws


def random_positions(task: Task, count: int) -> list[int]:
    """At most ``count`` training examples (rows), the same choice whenever it is made."""
    return sorted(np.random.default_rng(SEED).permutation(task.size("train"))[:count].tolist())
