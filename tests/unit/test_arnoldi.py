"""Arnoldi iteration against the dense matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attribution.capture import GradientCapture
from attribution.curvature.arnoldi import Arnoldi, fit_arnoldi
from attribution.curvature.exact import fit_exact
from attribution.curvature.gauss_newton import GaussNewton
from tests.unit.built_projects import engine_of
from tests.unit.tiny_models import labels, mlp, settled, task_of, trained_mlp

COUNT = 40


def fitted(
    steps: int = 1000, kept: int = 1000, batch_size: int = 16
) -> tuple[Arnoldi, Tensor, GradientCapture]:
    """Arnoldi and the dense matrix of the same small network."""
    torch.manual_seed(0)
    task = task_of(settled(mlp()), torch.randn(COUNT, 5), labels(COUNT))
    capture = GradientCapture(task, task.model)
    product = GaussNewton(task, capture, batch_size=batch_size).product
    found = fit_arnoldi(product, capture.shapes, steps=steps, kept=kept)
    return found, fit_exact(task, capture, batch_size=COUNT).matrix, capture


def flat(vectors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten(1) for tensor in vectors.values()], dim=1).double()


def test_with_as_many_steps_as_dimensions_it_is_the_exact_inverse() -> None:
    """The matrix is singular (a shift of all logits changes nothing), so the oracle is its pseudo-inverse."""
    found, dense, capture = fitted()
    values, basis = torch.linalg.eigh(dense)
    kept = values > 1e-4 * values.max()
    generator = torch.Generator().manual_seed(1)
    # Vectors within the space that the well-conditioned eigenvectors span, where float32 products say enough.
    mixed = torch.randn(3, int(kept.sum()), generator=generator, dtype=torch.float64) @ basis[:, kept].T
    sizes = [int(np.prod(shape)) for shape in capture.shapes.values()]
    pieces = mixed.float().split(sizes, dim=1)
    vectors = {n: p.reshape(3, *s) for (n, s), p in zip(capture.shapes.items(), pieces, strict=True)}
    solved = flat(found.inverse(vectors, damping=0.0))
    expected = mixed @ (basis[:, kept] / values[kept]) @ basis[:, kept].T
    assert float((solved - expected).norm() / expected.norm()) < 1e-3


def test_eigenpairs_are_those_of_the_matrix() -> None:
    found, dense, _ = fitted()
    vectors = flat(found.eigenvectors)
    leading = int((found.eigenvalues > 1e-3 * found.eigenvalues.max()).sum())
    assert leading > 10
    expected = torch.linalg.eigvalsh(dense).flip(0)[:leading]
    assert torch.allclose(found.eigenvalues[:leading].double(), expected, rtol=1e-3)
    products = vectors[:leading] @ dense
    difference = (products - found.eigenvalues[:leading, None] * vectors[:leading]).norm(dim=1)
    assert bool((difference < 1e-3 * found.eigenvalues[:leading]).all())
    gram = vectors @ vectors.T
    assert torch.allclose(gram, torch.eye(len(gram), dtype=torch.float64), atol=1e-4)


def test_few_steps_find_the_leading_eigenvalues() -> None:
    found, dense, _ = fitted(steps=20, kept=5)
    assert len(found.eigenvalues) == 5
    expected = torch.linalg.eigvalsh(dense).flip(0)[:5]
    assert torch.allclose(found.eigenvalues.double(), expected, rtol=1e-2)


def test_batch_size_changes_no_eigenvalue() -> None:
    first, second = fitted(batch_size=7)[0], fitted(batch_size=40)[0]
    assert torch.allclose(first.eigenvalues[:10], second.eigenvalues[:10], rtol=1e-4)


def test_saving_keeps_every_number(tmp_path: Path) -> None:
    found, _, _ = fitted(steps=8, kept=4)
    found.save(tmp_path / "arnoldi.safetensors")
    loaded = Arnoldi.load(tmp_path / "arnoldi.safetensors")
    assert torch.equal(loaded.eigenvalues, found.eigenvalues)
    assert all(torch.equal(loaded.eigenvectors[n], u) for n, u in found.eigenvectors.items())


def test_scores_are_the_influence_in_the_leading_eigenspace(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", trained_mlp)
    wrong = engine.project.mispredictions()[0]["id"]
    indexed = engine.explain(wrong, method="arnoldi").scores
    assert (engine.project.prepared_directory / "index" / "point-2" / "arnoldi.safetensors").exists()
    fresh = engine.explain(wrong, method="arnoldi", use_index=False).scores
    assert np.allclose(indexed, fresh, rtol=1e-2, atol=1e-3 * np.abs(fresh).max())
