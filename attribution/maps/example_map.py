"""A map as it is stored beside the gradient index, and found again. No torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attribution.maps.umap_process import MIN_DISTANCE, MOST_FITTED, NEIGHBOURS
from attribution.projects import Project
from attribution.projects.files import replacing
from attribution.projects.ledger import Ledger

Space = Literal["representation", "gradient"]
Projection = Literal["pca", "umap"]

SPACES: dict[Space, str] = {"representation": "Representations", "gradient": "Gradients"}
PROJECTIONS: dict[Projection, str] = {"pca": "PCA", "umap": "UMAP"}

SEED = 0

MOST_SAMPLED = 5000
"""Training examples that the plane is chosen by at most, evenly by class; all others are placed in it."""

MOST_TEST = 2000
"""Test examples whose gradients are computed for a map at most: mispredictions first."""

UMAP_WIDTH = 50
"""Principal components that UMAP gets of longer vectors: what is beyond is mostly noise, and costs time."""

FORMAT = 1
FOLDER = "maps"


@dataclass(frozen=True)
class ExampleMap:
    """Points of the examples of a project.

    Args:
        train, test: points (N, 2) and (M, 2), in the order of the data; NaN for test examples that have none.
        shares: of the variance that each axis holds, (2,); zero where axes mean nothing (UMAP).
        sampled: training examples that the plane was chosen by.
    """

    space: Space
    projection: Projection
    train: NDArray[np.float32]
    test: NDArray[np.float32]
    shares: NDArray[np.float64]
    sampled: int


def map_key(project: Project, space: Space, projection: Projection) -> str:
    """Digest of all that a map depends on: model, data, what is stored of gradients, settings, and libraries.

    Raises:
        ProjectError: the project is not prepared, or its index is damaged.
    """
    record = project.preparation
    made_from = {
        "format": FORMAT,
        "index": Ledger.read(project.prepared_directory / "index").arguments,
        "final": record["facts"]["final"],
        "tests": record["n_test"],
        "space": space,
        "projection": projection,
        "seed": SEED,
        "sizes": [MOST_SAMPLED, MOST_TEST],
        "libraries": {"scikit-learn": _version("scikit-learn")},
    }
    if projection == "umap":
        made_from["umap"] = [UMAP_WIDTH, NEIGHBOURS, MIN_DISTANCE, MOST_FITTED, _version("umap-learn")]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]


def stored_map(project: Project, space: Space, projection: Projection) -> ExampleMap | None:
    """The map of the project as it is now; None where it was never made, is damaged, or belongs to something else.

    Raises:
        ProjectError: the project is not prepared, or its index is damaged.
    """
    key = map_key(project, space, projection)
    try:
        with np.load(_file(project, space, projection), allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                return None
            found = ExampleMap(
                space,
                projection,
                stored["train"],
                stored["test"],
                stored["shares"],
                int(stored["sampled"]),
            )
    except Exception:  # zip and npy files have their own errors for each kind of damage; it is made again
        return None
    record = project.preparation
    whole = found.train.shape == (record["n_train"], 2) and found.test.shape == (record["n_test"], 2)
    return found if whole else None


def store_map(project: Project, found: ExampleMap) -> None:
    """Write a map, atomically.

    Raises:
        ProjectError: the folder cannot be written.
    """
    key = map_key(project, found.space, found.projection)
    with (
        replacing(_file(project, found.space, found.projection)) as temporary,
        temporary.open("wb") as file,
    ):
        np.savez(
            file, key=key, train=found.train, test=found.test, shares=found.shares, sampled=found.sampled
        )


def _file(project: Project, space: Space, projection: Projection) -> Path:
    return project.prepared_directory / FOLDER / f"{space}-{projection}.npz"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
