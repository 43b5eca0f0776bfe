"""Ways of inverting the curvature: they agree with the dense matrix, and say when they do not converge."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from attribution.capture import GradientCapture
from attribution.curvature import fit_ekfac
from attribution.curvature.conjugate_gradient import ConjugateGradient
from attribution.curvature.exact import fit_exact
from attribution.curvature.gauss_newton import GaussNewton, Vectors
from attribution.curvature.lissa import Lissa
from attribution.curvature.store import PRECONDITIONER_DAMPING
from attribution.errors import NumericalError
from tests.unit.built_projects import engine_of
from tests.unit.tiny_models import (
    OneDimensional,
    TextModel,
    convolutional,
    images,
    labels,
    mlp,
    settled,
    task_of,
    texts,
    trained_mlp,
)

COUNT = 40


def cases() -> list[tuple[nn.Module, object]]:
    torch.manual_seed(0)
    return [
        (mlp(), torch.randn(COUNT, 5)),
        (convolutional(), images(COUNT)),
        (TextModel(tied=True), texts(COUNT)),
    ]


def random_vectors(capture: GradientCapture, count: int = 2) -> Vectors:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(count, *shape, generator=generator) for name, shape in capture.shapes.items()}


def relative_difference(found: Vectors, expected: Vectors) -> float:
    first = torch.cat([found[name].flatten(1) for name in expected], dim=1).double()
    second = torch.cat([expected[name].flatten(1) for name in expected], dim=1).double()
    return float((first - second).norm() / second.norm())


@pytest.mark.parametrize("number", range(3))
def test_products_are_those_of_the_dense_matrix(number: int) -> None:
    model, inputs = cases()[number]
    task = task_of(settled(model), inputs, labels(COUNT))  # type: ignore[arg-type]
    capture = GradientCapture(task, task.model)
    vectors = random_vectors(capture)
    dense = fit_exact(task, capture, batch_size=16).matrix
    flat = torch.cat([vectors[name].flatten(1) for name in capture.shapes], dim=1).double()
    found = GaussNewton(task, capture, batch_size=16).product(vectors)
    joined = torch.cat([found[name].flatten(1) for name in capture.shapes], dim=1).double()
    assert torch.allclose(joined, flat @ dense, rtol=1e-3, atol=1e-4 * float(joined.abs().max()))


def test_vectors_by_block_and_by_parameter_are_the_same_numbers() -> None:
    for model, inputs in [*cases(), (OneDimensional(), torch.randn(COUNT, 2, 9))]:
        task = task_of(settled(model), inputs, labels(COUNT))  # type: ignore[arg-type]
        capture = GradientCapture(task, task.model)
        vectors = random_vectors(capture)
        there_and_back = capture.from_parameters(capture.to_parameters(vectors))
        assert all(torch.equal(there_and_back[name], vectors[name]) for name in vectors)


def test_solvers_agree_with_the_exact_inverse() -> None:
    task = task_of(settled(mlp()), torch.randn(COUNT, 5), labels(COUNT))
    capture = GradientCapture(task, task.model)
    vectors = random_vectors(capture)
    expected = fit_exact(task, capture, batch_size=COUNT).inverse(vectors, 0.05)
    matrix = GaussNewton(task, capture, batch_size=16)
    preconditioner = fit_ekfac(task, capture, batch_size=COUNT, draws=8)
    solvers = {
        "plain": ConjugateGradient(matrix, tolerance=1e-5),
        "preconditioned": ConjugateGradient(matrix, preconditioner, tolerance=1e-5),
        "lissa": Lissa(matrix, tolerance=1e-5),
    }
    for name, solver in solvers.items():
        assert relative_difference(solver.inverse(vectors, 0.05), expected) < 1e-3, name
    assert relative_difference(preconditioner.inverse(vectors, 0.05), expected) < 0.5


def test_lissa_converges_to_conjugate_gradients() -> None:
    """The error of J steps falls with J to what float32 products allow."""
    torch.manual_seed(0)
    task = task_of(settled(mlp()), torch.randn(COUNT, 5), labels(COUNT))
    capture = GradientCapture(task, task.model)
    vectors = random_vectors(capture)
    matrix = GaussNewton(task, capture, batch_size=COUNT)
    limit = ConjugateGradient(matrix, tolerance=1e-6).inverse(vectors, 0.05)
    errors = []
    for steps in (5, 20, 80, 160):
        recursion = Lissa(matrix, steps=steps, tolerance=0.0, must_converge=False)
        errors.append(relative_difference(recursion.inverse(vectors, 0.05), limit))
    assert errors[0] > 0.05 and errors[-1] < 1e-3, errors
    assert all(later < earlier for earlier, later in itertools.pairwise(errors)), errors


def test_a_preconditioner_that_knows_no_curvature_of_some_words_is_held_back() -> None:
    """Fitted on three sentences: along words that none of them has its steps are far too long without more damping."""
    torch.manual_seed(0)
    task = task_of(settled(TextModel()), texts(COUNT), labels(COUNT))
    capture = GradientCapture(task, task.model)
    matrix = GaussNewton(task, capture, batch_size=COUNT)
    few = [row for row in range(COUNT) if int(task.train[row][0]["input_ids"].max()) < 8][:3]
    fitted = fit_ekfac(task, capture, batch_size=COUNT, positions=few)
    vectors = random_vectors(capture, 1)
    expected = fit_exact(task, capture, batch_size=COUNT).inverse(vectors, 1e-3)
    iterations = []
    for least in (0.0, PRECONDITIONER_DAMPING * fitted.mean_eigenvalue()):
        seen: list[str] = []
        solver = ConjugateGradient(
            matrix,
            fitted,
            tolerance=1e-3,
            reporter=lambda share, words, seen=seen: seen.append(words),
            least_preconditioner_damping=least,
        )
        assert relative_difference(solver.inverse(vectors, 1e-3), expected) < 1e-2
        iterations.append(len(seen))
    assert iterations[1] < 0.6 * iterations[0], iterations


def test_a_solve_that_does_not_converge_is_an_error_with_advice() -> None:
    task = task_of(settled(mlp()), torch.randn(COUNT, 5), labels(COUNT))
    capture = GradientCapture(task, task.model)
    vectors = random_vectors(capture)
    matrix = GaussNewton(task, capture, batch_size=16)
    with pytest.raises(NumericalError, match=r"did not converge: .* Use the method ekfac, without --refine"):
        ConjugateGradient(matrix, tolerance=1e-9, max_iterations=2).inverse(vectors, 1e-6)
    with pytest.raises(NumericalError, match=r"did not converge in 3 steps .* use conjugate gradients"):
        Lissa(matrix, steps=3).inverse(vectors, 1e-4)


def test_refined_scores_are_those_of_the_exact_curvature(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", trained_mlp)
    wrong = engine.project.mispredictions()[0]["id"]
    refined = engine.explain(wrong, method="ekfac", refine=True)
    plain = engine.explain(wrong, method="ekfac")
    task, trajectory = engine.task, engine._loaded.trajectory
    capture = GradientCapture(task, trajectory.model_at(trajectory.final))
    exact = fit_exact(task, capture, batch_size=40)
    from attribution.query import Query

    query = Query(engine._loaded, [engine._target(wrong, "margin")])
    damping = engine._loaded.curvature.damping_at(trajectory.final, "cg", query.reporter)
    solved = exact.inverse(query.gradient(trajectory.final), damping)
    expected = -query.dots(trajectory.final, solved)[0].numpy() / task.size("train")
    assert np.corrcoef(refined.scores, expected)[0, 1] > 0.9999
    assert np.corrcoef(plain.scores, expected)[0, 1] < np.corrcoef(refined.scores, expected)[0, 1]
    assert refined.trust["residual"] <= 1e-2
