"""Maps of examples: the plane is the one that it should be, in whatever order the data come, and what is stored belongs
to the project as it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from attribution import Engine
from attribution.errors import MissingRequirementError
from attribution.maps import build, example_map, umap_process
from attribution.maps.example_map import ExampleMap, stored_map
from attribution.maps.projection import PrincipalComponents
from attribution.maps.sample import even_sample, shuffled
from attribution.maps.umap_process import umap_installed, umap_points
from attribution.maps.vectors import Gradients
from attribution.progress import SILENT, Reporter
from attribution.projects import Project


def blobs(count: int, width: int, apart: float, *, seed: int = 0) -> NDArray[np.float32]:
    """``count`` vectors, each half around a centre of its own."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, width)).astype(np.float32)
    vectors[count // 2 :] += apart / np.sqrt(width)
    return vectors


# -- principal components -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(60, 8), (40, 300), (600, 530)])
def test_components_are_numpys_singular_vectors(shape: tuple[int, int]) -> None:
    """Whole and by Lanczos iterations: the same up to sign, and the sign is fixed."""
    vectors = np.random.default_rng(1).normal(size=shape) * np.linspace(3, 1, shape[1])
    found = PrincipalComponents.fit(vectors)
    centred = vectors - vectors.mean(axis=0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    for number in range(2):
        sign = np.sign(found.axes[number] @ axes[number])
        np.testing.assert_allclose(found.axes[number], sign * axes[number], atol=1e-6)
        assert found.axes[number][np.abs(found.axes[number]).argmax()] > 0
    np.testing.assert_allclose(found.shares, (values**2 / (values**2).sum())[:2], rtol=1e-6)
    np.testing.assert_allclose(found.transform(vectors), centred @ found.axes.T, atol=1e-9)


@pytest.mark.parametrize(
    "vectors", [np.ones((1, 3)), np.ones((5, 3)), np.arange(4.0).reshape(4, 1), np.array([[0.0, 1], [2, 3]])]
)
def test_data_of_too_small_a_rank_leave_axes_empty(vectors: NDArray[np.float64]) -> None:
    found = PrincipalComponents.fit(vectors)
    placed = found.transform(vectors)
    assert placed.shape == (len(vectors), 2) and np.isfinite(placed).all()
    np.testing.assert_allclose(placed[:, 1], 0, atol=1e-12)
    assert found.shares[1] == 0


# -- the sample -----------------------------------------------------------------------------------------------------


def test_the_sample_is_even_by_class_and_keeps_what_it_must() -> None:
    labels = np.array([0] * 90 + [1] * 6 + [2] * 4)
    ids = [f"e{number}" for number in range(100)]
    chosen = even_sample(ids, labels, 30, seed=0, always=[5, 7])
    assert len(chosen) == 30 == len(set(chosen.tolist())) and {5, 7} <= set(chosen.tolist())
    assert np.bincount(labels[chosen]).tolist() == [20, 6, 4], "rare classes are there whole"
    assert len(even_sample(ids, labels, 1, seed=0, always=[5, 7, 9])) == 3
    assert sorted(even_sample(ids, labels, 1000, seed=0).tolist()) == list(range(100))


def test_the_sample_is_the_same_in_any_order_of_the_data() -> None:
    labels = np.arange(100) % 3
    ids = [f"e{number}" for number in range(100)]
    order = np.random.default_rng(0).permutation(100)
    chosen = [ids[p] for p in even_sample(ids, labels, 40, seed=0)]
    permuted = [ids[p] for p in order]
    assert [permuted[p] for p in even_sample(permuted, labels[order], 40, seed=0)] == chosen
    assert [ids[p] for p in shuffled(ids, 0)] != [ids[p] for p in shuffled(ids, 1)]


# -- maps -----------------------------------------------------------------------------------------------------------


class Given:
    """Vectors that a test gives, the training data's in two parts."""

    def __init__(self, train: NDArray[np.float32], test: NDArray[np.float32]) -> None:
        self.rows, self.tests = train, test

    def train(self) -> Iterator[NDArray[np.float32]]:
        yield self.rows[:7]
        yield self.rows[7:]

    def test(self, positions: Sequence[int], reporter: Reporter) -> NDArray[np.float32]:
        return self.tests[list(positions)]


def test_every_example_is_placed_by_the_plane_of_the_sample(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = engine.project
    size, tests = len(project.predictions("train")), len(project.predictions("test"))
    vectors = Given(blobs(size, 6, 20), blobs(tests, 6, 20, seed=1))
    monkeypatch.setattr(build, "MOST_SAMPLED", 10)
    found = build.make_map(project, vectors, "representation", "pca", SILENT)
    ids, labels = list(project.predictions("train").index), project.predictions("train")["label"].to_numpy()
    sample = even_sample(ids, labels, 10, seed=example_map.SEED)
    plane = PrincipalComponents.fit(vectors.rows[sample])
    np.testing.assert_allclose(found.train, plane.transform(vectors.rows), atol=1e-4)
    np.testing.assert_allclose(found.test, plane.transform(vectors.tests), atol=1e-4)
    assert found.sampled == 10
    first = found.train[:, 0]
    half = size // 2
    assert max(first[:half]) < min(first[half:]) or min(first[:half]) > max(first[half:]), "blobs stay apart"


@pytest.mark.parametrize("space", ["representation", "gradient"])
def test_a_map_is_the_same_each_time(engine: Engine, space: example_map.Space) -> None:
    first = build.make_map(engine.project, _vectors(engine, space), space, "pca", SILENT)
    again = build.make_map(engine.project, _vectors(engine, space), space, "pca", SILENT)
    np.testing.assert_array_equal(first.train, again.train)
    np.testing.assert_array_equal(first.test, again.test)
    assert np.isfinite(first.train).all() and np.isfinite(first.test).all()


def _vectors(engine: Engine, space: example_map.Space) -> build.ExampleVectors:
    from attribution.maps.vectors import vectors_of

    return vectors_of(engine._run, space, engine._lock)


def test_cosines_in_gradient_space_are_influence(engine: Engine) -> None:
    """Oracle: the scores of the influence function. A test example's vector times a training example's has the sign of
    its score, and times both lengths it is the score."""
    vectors = Gradients(engine._run, engine._lock)
    train = np.concatenate([rows.copy() for rows in vectors.train()]).astype(np.float64)
    wrong = [row["id"] for row in engine.project.mispredictions()]
    test = vectors.test([engine.project.position("test", one) for one in wrong], SILENT)
    scores = engine.scores(wrong, method="ekfac").astype(np.float64)
    index, final = engine._loaded.index, engine._loaded.trajectory.final.number
    cosines = test @ train.T
    by_length = scores / index.array(final, "lengths").double().numpy()
    scale = by_length[:, :1] / cosines[:, :1]  # the length of each test example's own gradient
    assert (scale > 0).all()
    np.testing.assert_allclose(cosines * scale, by_length, rtol=1e-3, atol=1e-3 * np.abs(by_length).max())


def test_of_many_test_examples_mispredictions_come_first(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {engine.project.position("test", row["id"]) for row in engine.project.mispredictions()}
    monkeypatch.setattr(build, "MOST_TEST", len(wrong) + 1)
    chosen = build.tested(engine.project, "gradient")
    assert wrong < set(chosen.tolist()) and len(chosen) == len(wrong) + 1
    assert len(build.tested(engine.project, "representation")) == len(engine.project.predictions("test"))
    found = build.make_map(engine.project, _vectors(engine, "gradient"), "gradient", "pca", SILENT)
    placed = np.flatnonzero(np.isfinite(found.test).all(axis=1))
    assert placed.tolist() == chosen.tolist(), "the others have no place, rather than a wrong one"


# -- what is stored -------------------------------------------------------------------------------------------------


@pytest.fixture
def mapped(own_digits: Project) -> tuple[Project, ExampleMap]:
    """A project of its own with one map, whatever other tests have made."""
    shutil.rmtree(own_digits.prepared_directory / "maps", ignore_errors=True)
    return own_digits, Engine(own_digits, device="cpu").map("representation")


def test_a_map_is_read_back_until_something_changes(
    mapped: tuple[Project, ExampleMap], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, made = mapped
    read = stored_map(project, "representation", "pca")
    assert read is not None
    np.testing.assert_array_equal(read.train, made.train)
    np.testing.assert_array_equal(read.test, made.test)
    assert stored_map(project, "gradient", "pca") is None
    with monkeypatch.context() as changed:
        changed.setattr(example_map, "SEED", 1)
        assert stored_map(project, "representation", "pca") is None
    ledger = project.prepared_directory / "index" / "ledger.json"
    stored = json.loads(ledger.read_text())
    stored["arguments"]["sources"]["task.py"] = "another model"
    ledger.write_text(json.dumps(stored))
    assert stored_map(project, "representation", "pca") is None, "prepared anew from other weights"


def test_a_damaged_map_is_made_again(mapped: tuple[Project, ExampleMap]) -> None:
    project, made = mapped
    (file,) = (project.prepared_directory / "maps").iterdir()
    whole = file.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"no archive"):
        file.write_bytes(content)
        assert stored_map(project, "representation", "pca") is None
    again = Engine(project, device="cpu").map("representation")
    np.testing.assert_array_equal(again.train, made.train)
    assert stored_map(project, "representation", "pca") is not None
    assert [file.name for file in (project.prepared_directory / "maps").iterdir()] == [file.name]
    assert project.prepared, "a map is no part of what the preparation is checked by"


def test_without_representations_gradients_still_have_a_map(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (Path(engine.project.prepared_directory) / "test_representations.npy").rename(
        hidden := Path(engine.project.prepared_directory) / "hidden.npy"
    )
    try:
        with pytest.raises(MissingRequirementError, match="use gradients"):
            engine.map("representation")
        assert torch.tensor(engine.map("gradient").train).isfinite().all()
    finally:
        hidden.rename(engine.project.prepared_directory / "test_representations.npy")


# -- UMAP -----------------------------------------------------------------------------------------------------------


def test_without_the_package_umap_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(umap_process, "umap_installed", lambda: False)
    with pytest.raises(MissingRequirementError, match=r"tracefix\[maps\]"):
        umap_points(blobs(20, 3, 5), blobs(4, 3, 5), seed=0, reporter=SILENT)


@pytest.mark.slow
@pytest.mark.skipif(
    not umap_installed(), reason="needs umap-learn, which only the extra tracefix[maps] installs"
)
def test_umap_keeps_clusters_apart_and_places_others_among_their_own() -> None:
    fitted, others = blobs(60, 5, 30), blobs(20, 5, 30, seed=1)
    points, placed = umap_points(fitted, others, seed=0, reporter=SILENT)
    centres = [points[:30].mean(axis=0), points[30:].mean(axis=0)]
    spread = max(np.linalg.norm(points[:30] - centres[0], axis=1).max(), 1e-6)
    assert np.linalg.norm(centres[0] - centres[1]) > spread
    for row, point in enumerate(placed):
        own = int(row >= 10)
        assert np.linalg.norm(point - centres[own]) < np.linalg.norm(point - centres[1 - own])
    again, _ = umap_points(fitted, others, seed=0, reporter=SILENT)
    np.testing.assert_array_equal(points, again)
