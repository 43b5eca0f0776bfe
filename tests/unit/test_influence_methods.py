"""Influence functions by each way of inverting the curvature, against the dense matrix and written-out formulas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from attribution import Engine
from attribution.batches import batch_of
from attribution.capture import GradientCapture
from attribution.curvature.datainf import SHARE_OF_MEAN, DataInf
from attribution.curvature.exact import fit_exact
from attribution.methods import availability, method_named
from attribution.methods.exact import LARGEST
from attribution.query import Query
from tests.unit.built_projects import engine_of, with_batches_of
from tests.unit.tiny_models import (
    TextModel,
    convolutional,
    images,
    labels,
    mlp,
    settled,
    squared_error,
    task_of,
    texts,
    trained_mlp,
)

COUNT = 30


def dense_influence(engine: Engine, test_id: str) -> np.ndarray:
    """-(1/N) g_fᵀ (H + λI)⁻¹ g_i, solved as one dense system."""
    query = Query(engine._loaded, [engine._target(test_id, "margin")])
    capture = GradientCapture(engine.task, engine._loaded.trajectory.model_at(query.final))
    matrix = fit_exact(engine.task, capture, batch_size=40).matrix
    damping = engine._loaded.curvature.damping_at(query.final, "exact", query.reporter)
    count = engine.task.size("train")
    batch = batch_of(engine.task, "train", range(count))
    gradients = capture.gradients(batch.inputs, batch.labels, engine.task.loss).dense()
    train = torch.cat([gradients[name].flatten(1) for name in capture.shapes], dim=1).double()
    mine = torch.cat([query.gradient(query.final)[name].flatten(1) for name in capture.shapes], dim=1)
    solved = torch.linalg.solve(matrix + damping * torch.eye(len(matrix)), mine.double().T)
    return (-(train @ solved)[:, 0] / count).numpy()


@pytest.mark.parametrize(("method", "tolerance"), [("exact", 1e-4), ("cg", 2e-2), ("lissa", 2e-2)])
def test_solvers_give_the_scores_of_the_dense_system(
    engine: Engine, misprediction: str, method: str, tolerance: float
) -> None:
    expected = dense_influence(engine, misprediction)
    found = engine.explain(misprediction, method=method).scores
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("method", ["exact", "cg", "lissa", "datainf"])
def test_batch_size_and_the_index_change_no_score(
    engine: Engine, misprediction: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed = engine.explain(misprediction, method=method).scores
    with_batches_of(engine, 7, monkeypatch)
    monkeypatch.setattr(engine._loaded.curvature, "_batch_size", 7)
    monkeypatch.setattr(engine._loaded.curvature, "_exact", None)
    engine._remembered.clear()
    fresh = engine.explain(misprediction, method=method, use_index=False).scores
    assert np.allclose(fresh, indexed, rtol=1e-3, atol=1e-4 * np.abs(indexed).max())


def test_datainf_agrees_with_influence_in_rank(engine: Engine, misprediction: str) -> None:
    expected = dense_influence(engine, misprediction)
    found = engine.explain(misprediction, method="datainf").scores
    assert np.corrcoef(found, expected)[0, 1] > 0.7


@pytest.mark.parametrize("number", range(3))
def test_datainf_is_its_formula(number: int) -> None:
    torch.manual_seed(0)
    model, inputs = [
        (mlp(), torch.randn(COUNT, 5)),
        (convolutional(), images(COUNT)),
        (TextModel(), texts(COUNT)),
    ][number]
    task = task_of(settled(model), inputs, labels(COUNT))  # type: ignore[arg-type]
    capture = GradientCapture(task, task.model)
    vectors = {name: torch.randn(2, *shape) for name, shape in capture.shapes.items()}
    found = DataInf(task, capture, batch_size=7).inverse(vectors, damping=123.0)
    batch = batch_of(task, "train", range(COUNT))
    dense = capture.gradients(batch.inputs, batch.labels, task.loss).dense()
    for name, gradients in dense.items():
        rows = gradients.flatten(1).double()
        damping = SHARE_OF_MEAN * rows.square().mean()
        identity = torch.eye(rows.shape[1], dtype=torch.float64)
        inverses = torch.stack([torch.linalg.inv(torch.outer(g, g) + damping * identity) for g in rows])
        expected = vectors[name].flatten(1).double() @ inverses.mean(dim=0)
        assert torch.allclose(
            found[name].flatten(1).double(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
        )


@pytest.mark.parametrize("number", range(3))
def test_weighted_sums_of_gradients_are_those_of_the_dense_ones(number: int) -> None:
    model, inputs = [
        (mlp(), torch.randn(COUNT, 5)),
        (convolutional(), images(COUNT)),
        (TextModel(), texts(COUNT)),
    ][number]
    task = task_of(settled(model), inputs, labels(COUNT))  # type: ignore[arg-type]
    batch = batch_of(task, "train", range(COUNT))
    gradients = GradientCapture(task, task.model).gradients(batch.inputs, batch.labels, task.loss)
    weights = torch.randn(COUNT, 2)
    for block in gradients.blocks.values():
        expected = torch.einsum("bq,b...->q...", weights, block.dense())
        assert torch.allclose(block.combine(weights), expected, rtol=1e-3, atol=1e-4)


def test_the_exact_curvature_follows_the_loss() -> None:
    """Of squared errors the Hessian in the logits is the identity: H is the inputs' second moment, once per output."""
    torch.manual_seed(0)
    task = task_of(nn.Linear(4, 3), torch.randn(COUNT, 4), labels(COUNT), loss=squared_error)
    found = fit_exact(task, GradientCapture(task, task.model), batch_size=7).matrix
    inputs = torch.stack([torch.cat([task.train[i][0], torch.ones(1)]) for i in range(COUNT)]).double()
    expected = torch.kron(torch.eye(3, dtype=torch.float64), inputs.T @ inputs / COUNT)
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_model_too_large_for_the_dense_matrix_is_told_so(engine: Engine) -> None:
    assert availability(engine.project)["exact"] is None
    larger = replace(engine.facts, parameters=LARGEST + 1)
    sentence = method_named("exact").missing(larger)
    assert sentence is not None and "this model has 10,001: use cg" in sentence


def test_an_unfinished_recursion_says_its_residual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attribution.curvature.store.LISSA_STEPS", 1)
    engine = engine_of(tmp_path / "project", trained_mlp)
    found = engine.explain(engine.project.mispredictions()[0]["id"], method="lissa")
    assert found.trust["residual"] > 0.1 and "relative residual" in found.trust["sentence"]
