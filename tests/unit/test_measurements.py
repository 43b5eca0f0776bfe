"""Measurements that a task names, and what is said about functions that cannot measure anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution import Engine, Task
from attribution.errors import TracefixError, UsageError
from attribution.measurements import measurement_for, one_line
from attribution.methods import ProjectFacts
from tests.command_line import CommandLine
from tests.unit.built_projects import engine_of
from tests.unit.tiny_models import trained_mlp


def lead(logits: Tensor) -> Tensor:
    """How far a is ahead of b.

    In nats.
    """
    return logits[:, 0] - logits[:, 1]


def squared(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(1, labels[:, None])[:, 0].square()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    def build() -> Task:
        return replace(trained_mlp(), measurements={"lead of a": lead, "squared": squared})

    return engine_of(tmp_path_factory.mktemp("measured") / "project", build)


@pytest.mark.parametrize("method", ["grad_dot", "ekfac", "tracin"])
def test_a_named_measurement_is_the_function_behind_it(engine: Engine, method: str) -> None:
    example_id = engine.project.mispredictions()[0]["id"]

    def scores(measurement: str) -> np.ndarray:
        return engine.explain(example_id, method=method, measurement=measurement).scores.astype(float)

    of_a, of_b = scores("logit:a"), scores("logit:b")
    assert np.allclose(scores("lead of a"), of_a - of_b, atol=1e-4 * np.abs(of_a).max())


def test_labels_reach_a_measurement_that_wants_them(engine: Engine) -> None:
    """d/dθ z² = 2 z dz/dθ at the logit of the true class."""
    example = engine.project.mispredictions()[0]
    position = engine.project.position("test", example["id"])
    with torch.no_grad():
        logits = engine.task.logits(engine.task.model, engine.task.test[position][0][None])
    value = float(logits[0, engine.project.class_names.index(example["true"])])
    of_logit = engine.explain(example["id"], method="grad_dot", measurement=f"logit:{example['true']}").scores
    found = engine.explain(example["id"], method="grad_dot", measurement="squared").scores
    assert np.allclose(found, 2 * value * of_logit, atol=1e-4 * np.abs(found).max())


def test_preparation_remembers_their_names_and_what_they_say_of_themselves(engine: Engine) -> None:
    assert ProjectFacts.of(engine.project).measurements == {
        "lead of a": "How far a is ahead of b.",
        "squared": "",
    }
    explanation = engine.explain(engine.project.mispredictions()[0]["id"], measurement="lead of a")
    assert explanation.measurement_words == "the measurement 'lead of a'"


def test_the_command_line_takes_the_name(engine: Engine, tracefix: CommandLine) -> None:
    example_id = engine.project.mispredictions()[0]["id"]
    outcome = tracefix(
        "explain", engine.project.directory, example_id, "--measurement", "lead of a", "--top", "3", "--json"
    )
    document = json.loads(outcome.out)
    assert document["measurement"] == "lead of a"
    expected = engine.explain(example_id, measurement="lead of a").culprits(3)
    assert [row["id"] for row in document["culprits"]] == [card["id"] for card in expected]


def test_an_unknown_name_lists_those_of_the_task(engine: Engine) -> None:
    with pytest.raises(
        UsageError, match=r"There is no measurement 'lead': use margin.*'lead of a', 'squared' or FILE"
    ):
        engine.explain(engine.project.mispredictions()[0]["id"], measurement="lead")


@pytest.mark.parametrize("name", ["margin", "loss", "logit:a", "x.py:f", "", " padded"])
def test_names_that_mean_something_else_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        replace(trained_mlp(), measurements={name: lead})


def test_only_functions_measure() -> None:
    with pytest.raises(UsageError, match="'half' is no function"):
        replace(trained_mlp(), measurements={"half": 0.5})  # type: ignore[dict-item]


def test_only_a_functions_own_words_describe_it() -> None:
    assert one_line(squared) == ""
    assert one_line(torch.nn.Softmax(dim=1)) == "", "what a class says of itself is not about the measurement"


def missing_attribute(logits: Tensor) -> Any:
    return logits.no_such_thing


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda logits: logits.argmax(dim=1), "has no gradient"),
        (lambda logits: logits[:, 0].detach(), "has no gradient"),
        (lambda logits: logits, "one number per example"),
        (lambda logits: 1.0, "one number per example"),
        (lambda logits, labels: logits[:, 7], "fails (IndexError"),
        (missing_attribute, "fails (AttributeError"),
        (lambda: 0, "takes 0 arguments"),
    ],
    ids=[
        "argmax",
        "detached",
        "all logits",
        "a number",
        "no such column",
        "no such attribute",
        "no arguments",
    ],
)
def test_a_function_that_measures_nothing_is_said_to_do_so(
    function: Callable[..., Any], said: str, engine: Engine
) -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    with pytest.raises(TracefixError) as caught:
        found = measurement_for(
            "mine",
            class_names=["a", "b", "c"],
            true=0,
            predicted=1,
            loss=engine.task.loss,
            own={"mine": function},
        )
        found.value(logits, torch.zeros(4, dtype=torch.long))
    assert said in str(caught.value) and "mine" in str(caught.value)


def test_a_file_of_the_project_is_found_from_its_directory(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def first(logits):\n    return logits[:, 0]\n", encoding="utf-8")
    found = measurement_for(
        "mine.py:first",
        class_names=["a", "b"],
        true=0,
        predicted=1,
        loss=engine.task.loss,
        directory=tmp_path,
    )
    logits = torch.randn(3, 2)
    assert torch.equal(found.value(logits, torch.zeros(3)), logits[:, 0])
