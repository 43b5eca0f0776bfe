"""What damping, weights and checkpoints do, and how far methods lie apart on the same queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attribution import Task
from attribution.curvature import automatic_damping
from attribution.curvature.ekfac import Spectrum
from attribution.methods import DirectionalMethod
from attribution.methods.path import balanced
from attribution.progress import SILENT
from attribution.query import Loaded, Query
from attribution.trajectory import Point

from .correlation import difference, marks, summary
from .gradients import products, subset_sums
from .ours import BATCH_SIZE, OURS, loaded_for, targets_of
from .queries import MEASUREMENTS, Queries
from .run import Run
from .task import task_of
from .truth import Truth

AUTOMATIC = "automatic"
ABSOLUTE = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
RELATIVE = (0.1, 0.3, 1.0)

CHOICES: dict[str, tuple[int, ...]] = {
    "all six": (1, 2, 3, 4, 5, 6),
    "1, 2, 3, 6": (1, 2, 3, 6),
    "first three": (1, 2, 3),
    "last three": (4, 5, 6),
    "1, 2, 4": (1, 2, 4),
    "1, 3, 6": (1, 3, 6),
    "1, 2, 6": (1, 2, 6),
    "2, 4, 6": (2, 4, 6),
    "1, 6": (1, 6),
    **{f"only {number}": (number,) for number in range(1, 7)},
}
"""Checkpoints by number, 6 being the final model."""

PATH, SOURCES, BEST_INFLUENCE = "path", ("source_1", "source_3"), "best_ekfac"
PAIRS = (
    *((PATH, other) for other in (*SOURCES, BEST_INFLUENCE)),
    *((source, BEST_INFLUENCE) for source in SOURCES),
)
"""Which methods are compared query by query; ``best_ekfac`` is EK-FAC influence with the best damping of the sweep."""


def dampings(task: Task) -> dict[str, Spectrum]:
    """Every damping that is tried, by its name in the results."""
    automatic = automatic_damping(task)
    assert not automatic.relative
    absolute = {AUTOMATIC: automatic.value, **{f"{value:g}": value for value in ABSOLUTE}}
    return {
        **{name: _inverse_damped(value) for name, value in absolute.items()},
        **{f"{share:g} × mean of the layer": _inverse_damped_by_block(share) for share in RELATIVE},
    }


def _inverse_damped(damping: float) -> Spectrum:
    return lambda eigenvalues: 1 / (eigenvalues + damping)


def _inverse_damped_by_block(share: float) -> Spectrum:
    return lambda eigenvalues: 1 / (eigenvalues + share * eigenvalues.mean())


def study(run: Run, truth: Truth) -> dict[str, Any]:
    """Results by measurement.

    Returns:
        ``damping`` (at the final model, and of `path` at its checkpoints), ``checkpoints`` (of `path`, by weights),
        ``best_damping`` of the final model, and the ``paired`` differences of `PAIRS`.
    """
    task = task_of(run)
    results: dict[str, Any] = {"damping_automatic": automatic_damping(task).value}
    with loaded_for(task) as loaded:
        trajectory = loaded.trajectory
        points = trajectory.checkpoint_points
        sums = {p.number: subset_sums(task, trajectory, p, truth.member, BATCH_SIZE) for p in points}
        for measurement in MEASUREMENTS:
            results[measurement] = _studied(loaded, points, sums, truth, run.queries(measurement))
    return results


def _studied(
    loaded: Loaded,
    points: Sequence[Point],
    sums: Mapping[int, Mapping[str, Tensor]],
    truth: Truth,
    queries: Queries,
) -> dict[str, Any]:
    query = Query(loaded, targets_of(queries), use_index=False)
    tried = dampings(loaded.task)
    found = [_predicted_at(query, point, sums[point.number], tried) for point in points]
    predicted = {name: torch.stack([at[name][0] for at in found]) for name in tried}  # (points, subsets, Q)
    lengths = {name: torch.stack([at[name][1] for at in found]) for name in tried}  # (points, Q)
    rates = torch.tensor([point.learning_rate for point in points], dtype=torch.float64)
    traced = [points.index(point) for point in loaded.trajectory.traced]

    def marked(name: str, chosen: Sequence[int], weighting: str = "balanced") -> np.ndarray:
        index = list(chosen)
        weights = {
            "balanced": balanced(lengths[name][index]),
            "equal": torch.ones_like(lengths[name][index]),
            "by_rate": rates[index].unsqueeze(1).expand(-1, lengths[name].shape[1]),
        }[weighting]
        return marks(truth, queries, (weights.unsqueeze(1) * predicted[name][index]).sum(dim=0))

    final = {name: marks(truth, queries, predicted[name][-1]) for name in tried}
    best = max(tried, key=lambda name: float(final[name].mean()))
    each = {PATH: marked(AUTOMATIC, traced), BEST_INFLUENCE: final[best]}
    for name in SOURCES:
        each[name] = marks(truth, queries, _predicted_by(name, query, sums))
    return {
        "damping": {
            name: {"final": summary(final[name]), "path": summary(marked(name, traced))} for name in tried
        },
        "checkpoints": {
            name: {
                weighting: summary(marked(AUTOMATIC, [number - 1 for number in chosen], weighting))
                for weighting in ("balanced", "equal", "by_rate")
            }
            for name, chosen in CHOICES.items()
        },
        "best_damping": best,
        "marks": {name: summary(each[name]) for name in each},
        "paired": {f"{a} - {b}": difference(each[a], each[b]) for a, b in PAIRS},
    }


def _predicted_at(
    query: Query, point: Point, sums: Mapping[str, Tensor], tried: Mapping[str, Spectrum]
) -> dict[str, tuple[Tensor, Tensor]]:
    """For every damping predictions (subsets, Q) at one point, and the query gradients' lengths (Q,) in its metric."""
    curvature = query.loaded.curvature.at(point, SILENT)
    gradient = query.gradient(point)
    rotated = {
        name: (block.rotate(sums[name]).flatten(1), block.rotate(gradient[name]).flatten(1))
        for name, block in curvature.blocks.items()
    }
    result = {}
    for name, spectrum in tried.items():
        predictions, squares = [], []
        for block, (summed, asked) in rotated.items():
            solved = asked * spectrum(curvature.blocks[block].eigenvalues).flatten()
            predictions.append(-(summed @ solved.T).double())
            squares.append((asked.double() * solved.double()).sum(dim=1))
        result[name] = torch.stack(predictions).sum(dim=0), torch.stack(squares).sum(dim=0).sqrt()
    return result


def _predicted_by(name: str, query: Query, sums: Mapping[int, Mapping[str, Tensor]]) -> Tensor:
    """Predictions (subsets, Q) of a method that is linear in the training gradients."""
    method = OURS[name].method()
    assert isinstance(method, DirectionalMethod)
    method.fit(query.loaded, SILENT)
    parts = []
    for direction in method.directions(query):
        factor = direction.factor if isinstance(direction.factor, float) else direction.factor.T
        parts.append(factor * products(sums[direction.point.number], direction.vectors))
    return torch.stack(parts).sum(dim=0)
