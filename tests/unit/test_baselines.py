"""Baselines and representer points against written-out formulas."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attribution import Engine, Task
from attribution.errors import MissingRequirementError
from attribution.linear_head import HEAD_PENALTY, fit_head, with_ones
from attribution.methods.bm25 import LENGTH_SHARE, SATURATION, bm25
from attribution.methods.random import Random
from attribution.query import Query
from attribution.task import cross_entropy
from tests.unit.built_projects import engine_of
from tests.unit.tiny_models import TRAIN, Pairs, TextModel, labels, settled, squared_error, texts


def test_loss_is_the_training_loss_signed_by_the_label(engine: Engine, misprediction: str) -> None:
    row = engine.project.example("test", misprediction)
    table = engine.project.predictions("train")
    names = [engine.task.class_names[int(label)] for label in table["label"]]
    signs = np.array([(n == row["predicted"]) - (n == row["true"]) for n in names], dtype=float)
    found = engine.explain(misprediction, method="loss").scores
    assert np.allclose(found, signs * table["loss"].to_numpy(), atol=1e-5)


def test_random_scores_are_the_same_each_time(engine: Engine) -> None:
    first = engine.scores(["0", "1"], method="random")
    assert np.array_equal(first, engine.scores(["0", "1"], method="random"))
    assert np.array_equal(first[1], engine.scores(["1"], method="random")[0])
    assert abs(np.corrcoef(first)[0, 1]) < 0.5
    query = Query(engine._loaded, [engine._target("0", "margin")])
    assert not np.allclose(Random(seed=1).scores(query)[0], first[0])


DOCUMENTS = ["a dull film", "a bright and funny film, a film to see", "Funny!", ""]


def test_bm25_is_its_formula() -> None:
    words = [
        ["a", "dull", "film"],
        ["a", "bright", "and", "funny", "film", "a", "film", "to", "see"],
        ["funny"],
        [],
    ]
    mean = sum(len(document) for document in words) / len(words)
    query = ["funny", "film", "film", "unknown"]
    expected = []
    for document in words:
        total = 0.0
        for word in query:
            count, containing = document.count(word), sum(word in other for other in words)
            rarity = math.log(1 + (len(words) - containing + 0.5) / (containing + 0.5))
            length = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * len(document) / mean)
            total += rarity * count * (SATURATION + 1) / (count + length)
        expected.append(total)
    assert np.allclose(bm25(DOCUMENTS, ["funny film, FILM unknown"])[0].numpy(), expected)


def text_task() -> Task:
    count = 30
    shown = [f"word{number % 7} word{number % 3}" for number in range(count)]
    torch.manual_seed(0)
    return Task(
        model=settled(TextModel()),
        train=Pairs(texts(count), labels(count)),
        test=Pairs(texts(count, seed=1), labels(count, seed=4)),
        class_names=["a", "b", "c"],
        train_display=shown,
        test_display=shown,
    )


def test_bm25_runs_on_texts_only(tmp_path: Path, engine: Engine, misprediction: str) -> None:
    with pytest.raises(MissingRequirementError, match="are not texts: use representation"):
        engine.explain(misprediction, method="bm25")
    texts_engine = engine_of(tmp_path / "project", text_task)
    wrong = texts_engine.project.mispredictions()[0]["id"]
    scores = texts_engine.explain(wrong, method="bm25").scores
    position = texts_engine.project.position("test", wrong)
    similar = bm25(
        [f"word{n % 7} word{n % 3}" for n in range(30)], [f"word{position % 7} word{position % 3}"]
    )[0]
    row = texts_engine.project.predictions("test").loc[wrong]
    classes = np.array(labels(30))
    signs = (classes == int(row["predicted"])).astype(float) - (classes == int(row["label"]))
    assert np.allclose(scores, similar.numpy() * signs, atol=1e-5)


@pytest.mark.parametrize("loss", [cross_entropy, squared_error])
def test_a_refitted_head_is_at_its_minimum(loss: object) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = with_ones(torch.randn(30, 4, generator=generator))
    classes = torch.tensor(labels(30))
    head = fit_head(inputs, classes, 3, loss, 0.1).requires_grad_()  # type: ignore[arg-type]
    objective = loss(inputs @ head.T, classes).mean() + 0.05 * head.square().sum()  # type: ignore[operator]
    (gradient,) = torch.autograd.grad(objective, head)
    assert float(gradient.abs().max()) < 1e-7
    if loss is squared_error:
        targets = torch.eye(3, dtype=torch.float64)[classes]
        solved = torch.linalg.solve(inputs.T @ inputs / 30 + 0.1 * torch.eye(5), inputs.T @ targets / 30).T
        assert torch.allclose(head.detach(), solved, atol=1e-6)


def test_representer_points_add_up_to_the_refitted_logit(engine: Engine, misprediction: str) -> None:
    def refitted(features: Tensor, test: Tensor) -> Tensor:
        inputs = with_ones(features)
        return with_ones(test) @ fit_head(inputs, classes, 3, cross_entropy, HEAD_PENALTY).T

    features: nn.Module = engine.task.model[:3]  # type: ignore[index]
    classes = torch.tensor(engine.task.train.labels)  # type: ignore[attr-defined]
    position = engine.project.position("test", misprediction)
    with torch.no_grad():
        train = features(torch.stack([engine.task.train[i][0] for i in range(TRAIN)]))
        test = features(engine.task.test[position][0].unsqueeze(0))
    logits = refitted(train, test)[0]
    for number, name in enumerate(("a", "b", "c")):
        scores = engine.explain(misprediction, method="representer", measurement=f"logit:{name}").scores
        assert float(scores.sum()) == pytest.approx(float(logits[number]), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("method", ["loss", "representer", "forward_inf", "exact", "source"])
def test_strong_scores_have_the_sign_of_their_label(engine: Engine, misprediction: str, method: str) -> None:
    """No method may turn the sign round: examples of the true class help on average, of the predicted one harm."""
    explanation = engine.explain(misprediction, method=method)
    classes = engine.project.predictions("train")["label"].to_numpy()
    row = engine.project.predictions("test").loc[misprediction]
    of_predicted = explanation.scores[classes == int(row["predicted"])].mean()
    of_true = explanation.scores[classes == int(row["label"])].mean()
    assert of_predicted > 0 > of_true
