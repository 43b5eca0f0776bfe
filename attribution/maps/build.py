"""Making a map: choose a plane by a sample of the training data, place all examples in it, store it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from attribution.maps import umap_process
from attribution.maps.example_map import (
    MOST_SAMPLED,
    MOST_TEST,
    SEED,
    UMAP_WIDTH,
    ExampleMap,
    Projection,
    Space,
    store_map,
    stored_map,
)
from attribution.maps.projection import PrincipalComponents
from attribution.maps.sample import even_sample
from attribution.maps.vectors import ExampleVectors
from attribution.progress import Reporter
from attribution.projects import Project


def example_map(
    project: Project,
    vectors: Callable[[], ExampleVectors],
    space: Space,
    projection: Projection,
    reporter: Reporter,
) -> ExampleMap:
    """The map of a project's examples, from disk where it was made before, else made and stored.

    Args:
        vectors: gives those of the space, where they are needed.

    Raises:
        MissingRequirementError: the model has no representations, or UMAP is not installed.
        NumericalError: a gradient is NaN or infinite, or UMAP failed.
        ProjectError: the folder cannot be written.
        Cancelled: the user asked for a stop; nothing is stored.
    """
    found = stored_map(project, space, projection)
    if found is None:
        found = make_map(project, vectors(), space, projection, reporter)
        store_map(project, found)
    return found


def make_map(
    project: Project, vectors: ExampleVectors, space: Space, projection: Projection, reporter: Reporter
) -> ExampleMap:
    """The map, computed."""
    table = project.predictions("train")
    most = MOST_SAMPLED if projection == "pca" else min(MOST_SAMPLED, umap_process.MOST_FITTED)
    sample = even_sample([str(name) for name in table.index], table["label"].to_numpy(), most, seed=SEED)
    sampled = _rows(vectors, sample, len(table), reporter)
    reporter(0.1, "Looking for the directions of the largest variance")
    components = PrincipalComponents.fit(sampled, 2 if projection == "pca" else UMAP_WIDTH, seed=SEED)
    positions = tested(project, space)
    test_rows = vectors.test(positions.tolist(), reporter.share(0.15, 0.5))
    reporter(0.5, "Placing all examples")
    test_placed = components.transform(test_rows)
    train_placed = np.concatenate([components.transform(rows) for rows in vectors.train()])
    shares = components.shares
    if projection == "umap":
        train, placed = _by_umap(train_placed, test_placed, sample, reporter.share(0.55, 1.0))
        shares = np.zeros(2)
    else:
        train, placed = train_placed.astype(np.float32), test_placed.astype(np.float32)
    test = np.full((len(project.predictions("test")), 2), np.nan, dtype=np.float32)
    test[positions] = placed
    return ExampleMap(space, projection, train, test, shares, len(sample))


def tested(project: Project, space: Space) -> NDArray[np.int64]:
    """Positions of the test examples that get a point: all of them where that is cheap.

    Of gradients, which take a pass through the model, those of at most `MOST_TEST`: mispredictions, worst loss first,
    then right predictions, evenly by class.
    """
    table = project.predictions("test")
    if space == "representation" or len(table) <= MOST_TEST:
        return np.arange(len(table))
    wrong = np.flatnonzero((table["label"] != table["predicted"]).to_numpy())
    wrong = wrong[np.argsort(-table["loss"].to_numpy()[wrong], kind="stable")][:MOST_TEST]
    names = [str(name) for name in table.index]
    return np.sort(even_sample(names, table["label"].to_numpy(), MOST_TEST, seed=SEED, always=wrong.tolist()))


def _rows(
    vectors: ExampleVectors, positions: NDArray[np.int64], total: int, reporter: Reporter
) -> NDArray[np.float32]:
    """The vectors of some training examples, in the order of ``positions``; all others are passed by."""
    place = np.full(total, -1)
    place[positions] = np.arange(len(positions))
    found: NDArray[np.float32] | None = None
    start = 0
    for rows in vectors.train():
        reporter(0.1 * start / total, "Reading the training data's vectors")
        here = place[start : start + len(rows)]
        if found is None:
            found = np.empty((len(positions), rows.shape[1]), dtype=np.float32)
        found[here[here >= 0]] = rows[here >= 0]
        start += len(rows)
    assert found is not None, "prepared projects have training examples"
    return found


def _by_umap(
    train: NDArray[np.float64], test: NDArray[np.float64], sample: NDArray[np.int64], reporter: Reporter
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    left = np.setdiff1d(np.arange(len(train)), sample)
    others = np.concatenate([train[left], test])
    fitted, placed = umap_process.umap_points(train[sample], others, seed=SEED, reporter=reporter)
    points = np.empty((len(train), 2), dtype=np.float32)
    points[sample], points[left] = fitted, placed[: len(left)]
    return points, placed[len(left) :]
