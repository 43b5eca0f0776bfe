"""Influence along the run is the influence function at each checkpoint, every one with the same say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attribution import Engine
from attribution.measurements import Measurement
from attribution.methods import DirectionalMethod, method_named
from attribution.methods.path import balanced
from attribution.query import Query, Target
from tests.unit.built_projects import engine_of
from tests.unit.tiny_models import trained_mlp


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return engine_of(tmp_path_factory.mktemp("mlp") / "project", trained_mlp)


@pytest.fixture(scope="module")
def targets(engine: Engine) -> list[Target]:
    """One target for each test example, mispredictions and others."""
    wrong = [str(row["id"]) for row in engine.project.mispredictions()]
    right = [name for name in engine.task.ids("test") if name not in wrong]
    return [engine._target(test_id, "margin") for test_id in (*wrong[:2], *right[:2])]


def parts(engine: Engine, targets: list[Target], **how: bool) -> Tensor:
    method = method_named("path")
    assert isinstance(method, DirectionalMethod)
    return method.parts(Query(engine._loaded, targets, **how))


def test_scores_are_influence_functions_of_equal_length(engine: Engine, targets: list[Target]) -> None:
    query = Query(engine._loaded, targets, use_index=False)
    assert len(query.traced) > 1
    influence, lengths = [], []
    for point in query.traced:
        solved = query.preconditioned(point)
        influence.append(-query.dots(point, solved) / engine.task.size("train"))
        gradient = query.gradient(point)
        lengths.append(sum((gradient[n] * solved[n]).flatten(1).sum(dim=1) for n in gradient).sqrt().double())
    length = torch.stack(lengths)
    expected = torch.stack(influence) / length.unsqueeze(2) * length.mean(dim=0).unsqueeze(1)
    found = method_named("path").scores(query)
    assert torch.allclose(found, expected.mean(dim=0), rtol=1e-5, atol=1e-6 * float(found.abs().max()))


def test_the_index_and_other_questions_change_no_score(engine: Engine, targets: list[Target]) -> None:
    together = parts(engine, targets)
    scale = float(together.abs().max())
    for number, target in enumerate(targets):
        alone = parts(engine, [target], use_index=False)[:, 0]
        assert torch.allclose(together[:, number], alone, rtol=1e-3, atol=1e-5 * scale)


def test_twice_the_measurement_has_twice_the_score(engine: Engine, targets: list[Target]) -> None:
    one = targets[0]
    measured = one.measurement
    twice = Measurement(
        measured.name, lambda logits, labels: 2 * measured.value(logits, labels), measured.words
    )
    found = parts(engine, [Target(one.position, twice)])
    expected = 2 * parts(engine, [one])
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))


def test_a_checkpoint_without_gradient_has_no_say_and_spoils_nothing() -> None:
    weights = balanced(torch.tensor([[2.0, 0.0], [4.0, 0.0]]))
    assert torch.equal(weights, torch.tensor([[1.5, 0.0], [0.75, 0.0]]))


def test_the_parts_by_layer_add_up_to_the_score(engine: Engine) -> None:
    test_id = str(engine.project.mispredictions()[0]["id"])
    scores = engine.explain(test_id, method="path").scores
    for position in (0, 5):
        found = engine.breakdown(test_id, engine.task.ids("train")[position], method="path")
        assert found.score == pytest.approx(float(scores[position]), rel=1e-3, abs=1e-6)
