"""What damping does to influence at the final model and along the run, and which checkpoints `path` needs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attribution import Task
from attribution.capture import GradientCapture
from attribution.curvature import automatic_damping, fit_ekfac
from attribution.curvature.store import fitted_on
from attribution.trajectory import Point, Trajectory

from .correlation import lds
from .gradients import query_gradient, train_products
from .ours import BATCH_SIZE
from .queries import MEASUREMENTS, Queries
from .run import Run
from .spectral import Spectrum, applied, inverse_damped, inverse_damped_by_block
from .task import task_of
from .truth import Truth

AUTOMATIC = "automatic"
ABSOLUTE = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
RELATIVE = (0.1, 0.3, 1.0)

CHOICES: dict[str, tuple[int, ...]] = {
    "all six": (1, 2, 3, 4, 5, 6),
    "first three": (1, 2, 3),
    "last three": (4, 5, 6),
    "1, 3, 6": (1, 3, 6),
    "1, 2, 6": (1, 2, 6),
    "2, 4, 6": (2, 4, 6),
    "1, 6": (1, 6),
    **{f"only {number}": (number,) for number in range(1, 7)},
}
"""Checkpoints by number, 6 being the final model."""


def dampings(task: Task) -> dict[str, Spectrum]:
    """Every damping that is tried, by its name in the results."""
    automatic = automatic_damping(task)
    assert not automatic.relative
    return {
        AUTOMATIC: inverse_damped(automatic.value),
        **{f"{value:g}": inverse_damped(value) for value in ABSOLUTE},
        **{f"{share:g} × mean of the layer": inverse_damped_by_block(share) for share in RELATIVE},
    }


def study(run: Run, truth: Truth) -> dict[str, Any]:
    """Results by measurement: ``damping`` (at the final model, along the run) and ``checkpoints`` of `path`."""
    task = task_of(run)
    trajectory = Trajectory(task)
    points = trajectory.checkpoint_points
    tried = dampings(task)
    scores = [_scores_at(run, task, trajectory, point, tried) for point in points]
    rates = torch.tensor([point.learning_rate for point in points], dtype=torch.float64)
    results: dict[str, Any] = {"damping_automatic": automatic_damping(task).value}
    for measurement in MEASUREMENTS:
        queries = run.queries(measurement)
        along = {
            name: torch.stack([at[measurement, name] for at in scores]).double() for name in tried
        }  # (checkpoints, N, Q)
        results[measurement] = {
            "damping": {name: _final_and_path(truth, queries, each) for name, each in along.items()},
            "checkpoints": {
                name: {
                    "equal": lds(truth, queries, _weighted(along[AUTOMATIC], chosen)),
                    "by_rate": lds(truth, queries, _weighted(along[AUTOMATIC], chosen, rates)),
                }
                for name, chosen in CHOICES.items()
            },
        }
    return results


def _final_and_path(truth: Truth, queries: Queries, scores: Tensor) -> dict[str, dict[str, float]]:
    """Marks of the last checkpoint and of the mean of all, of scores (checkpoints, N, Q)."""
    return {"final": lds(truth, queries, scores[-1]), "path": lds(truth, queries, scores.mean(dim=0))}


def _weighted(scores: Tensor, chosen: tuple[int, ...], weights: Tensor | None = None) -> Tensor:
    """Mean over the chosen checkpoints of scores (checkpoints, N, Q)."""
    index = torch.tensor(chosen) - 1
    own = torch.ones(len(index), dtype=scores.dtype) if weights is None else weights[index]
    return (own[:, None, None] * scores[index]).sum(dim=0) / own.sum()


def _scores_at(
    run: Run, task: Task, trajectory: Trajectory, point: Point, tried: dict[str, Spectrum]
) -> dict[tuple[str, str], Tensor]:
    """Scores (N, Q) at one point by measurement and damping, from one fit of the curvature."""
    capture = GradientCapture(task, trajectory.model_at(point))
    positions, draws = fitted_on(task)
    curvature = fit_ekfac(task, capture, batch_size=BATCH_SIZE, positions=positions, draws=draws)
    scores = {}
    for measurement in MEASUREMENTS:
        query = query_gradient(task, trajectory, point, run.queries(measurement))
        for name, spectrum in tried.items():
            solved = applied(curvature, query, spectrum)
            scores[measurement, name] = -train_products(task, trajectory, point, solved, BATCH_SIZE)
    return scores
