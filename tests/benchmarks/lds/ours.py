"""Our methods on a run: each a function of the task that fits all it needs and gives scores (N, Q)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attribution import Task
from attribution.capture import GradientCapture
from attribution.curvature import automatic_damping, fit_ekfac
from attribution.curvature.exact import LARGEST
from attribution.trajectory import Point, Trajectory

from .gradients import query_gradient, train_products
from .queries import Queries
from .refined import ExactSolver, exact_damping
from .source import source_scores

FITTING_BATCH = 256
BATCH_SIZE = 1024
"""Wide products with many queries are fastest in large batches."""

TITLES = {
    "grad_dot": "grad_dot",
    "tracin": "tracin, 6 checkpoints",
    "ekfac": "ekfac",
    "path": "path, 6 checkpoints",
    "source_1": "SOURCE, L = 1",
    "source_3": "SOURCE, L = 3",
    "exact": "exact curvature, λ = 4/(ηK)",
    "path_exact": "path, exact curvature, λ = 4/(ηK)",
}

Method = Callable[[Task, Queries], Tensor]
"""Positive where training on the example pushed the measurement up; (N, Q)."""


def methods_for(parameters: int) -> dict[str, Method]:
    """All methods that a model of that many parameters allows."""
    methods: dict[str, Method] = {
        "grad_dot": grad_dot,
        "tracin": tracin,
        "ekfac": ekfac,
        "path": path,
        "source_1": lambda task, queries: source(task, queries, 1),
        "source_3": lambda task, queries: source(task, queries, 3),
    }
    if parameters <= LARGEST:
        methods |= {"exact": exact, "path_exact": path_exact}
    return methods


def grad_dot(task: Task, queries: Queries) -> Tensor:
    """Gradient products at the final model."""
    trajectory = Trajectory(task)
    return _plain(task, trajectory, trajectory.final, queries)


def tracin(task: Task, queries: Queries) -> Tensor:
    """Gradient products at every checkpoint, weighted by its learning rate (TracInCP)."""
    trajectory = Trajectory(task)
    return _sum([p.learning_rate * _plain(task, trajectory, p, queries) for p in trajectory.points])


def ekfac(task: Task, queries: Queries) -> Tensor:
    """Influence with EK-FAC curvature at the final model."""
    trajectory = Trajectory(task)
    return _curved(task, trajectory, trajectory.final, queries)


def path(task: Task, queries: Queries) -> Tensor:
    """Influence with EK-FAC curvature wholly at each checkpoint, averaged."""
    trajectory = Trajectory(task)
    points = trajectory.checkpoint_points
    return _sum([_curved(task, trajectory, point, queries) for point in points]) / len(points)


def source(task: Task, queries: Queries, segments: int) -> Tensor:
    """SOURCE with that many segments."""
    return source_scores(task, Trajectory(task), queries, segments=segments, batch_size=FITTING_BATCH)


def exact(task: Task, queries: Queries) -> Tensor:
    """`ekfac` with the whole Gauss-Newton matrix instead."""
    trajectory = Trajectory(task)
    return _exact(task, trajectory, trajectory.final, queries)


def path_exact(task: Task, queries: Queries) -> Tensor:
    """`path` with the whole Gauss-Newton matrix instead."""
    trajectory = Trajectory(task)
    points = trajectory.checkpoint_points
    return _sum([_exact(task, trajectory, point, queries) for point in points]) / len(points)


def _plain(task: Task, trajectory: Trajectory, point: Point, queries: Queries) -> Tensor:
    query = query_gradient(task, trajectory, point, queries)
    return -train_products(task, trajectory, point, query, BATCH_SIZE)


def _curved(task: Task, trajectory: Trajectory, point: Point, queries: Queries) -> Tensor:
    capture = GradientCapture(task, trajectory.model_at(point))
    curvature = fit_ekfac(task, capture, batch_size=FITTING_BATCH)
    damping = automatic_damping(task).absolute(curvature.mean_eigenvalue())
    query = curvature.inverse(query_gradient(task, trajectory, point, queries), damping)
    return -train_products(task, trajectory, point, query, BATCH_SIZE)


def _exact(task: Task, trajectory: Trajectory, point: Point, queries: Queries) -> Tensor:
    capture = GradientCapture(task, trajectory.model_at(point))
    query = query_gradient(task, trajectory, point, queries)
    solved = ExactSolver(task, capture, batch_size=FITTING_BATCH).solve(query, exact_damping(task))
    return -train_products(task, trajectory, point, solved, BATCH_SIZE)


def _sum(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum(dim=0)
