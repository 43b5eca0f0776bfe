"""What an earlier stage of training did, against training both stages again with a weight changed a little."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attribution import Checkpoint, Engine, Task, create_project, prepare
from attribution.errors import MissingRequirementError, ProjectError, UsageError
from attribution.projects import Project
from tests.command_line import CommandLine
from tests.unit.built_projects import engine_of
from tests.unit.tiny_models import Pairs, labels, squared_error

FIRST, SECOND, TESTED, WIDTH, HIDDEN = 40, 24, 6, 5, 8
RATE, STEPS, KEPT = 0.05, 60, (20, 40, 60)
EPSILON = 1e-2


class TwoHeads(nn.Module):
    """A trunk that both stages train, and a head of each stage's own."""

    def __init__(self, head: str, classes: int) -> None:
        super().__init__()
        self.trunk = nn.Linear(WIDTH, HIDDEN)
        self.head_name = head
        self.add_module(head, nn.Linear(HIDDEN, classes))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.get_submodule(self.head_name)(torch.tanh(self.trunk(inputs)))
        return logits


def pretraining_data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(FIRST, WIDTH, generator=generator)
    return inputs, (inputs[:, :4] + 0.5 * torch.randn(FIRST, 4, generator=generator)).argmax(dim=1)


def finetuning_data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(SECOND + TESTED, WIDTH, generator=generator)
    return inputs, (inputs[:, 1:4] + 0.5 * torch.randn(SECOND + TESTED, 3, generator=generator)).argmax(dim=1)


def trained(
    model: nn.Module, inputs: Tensor, classes: Tensor, weights: Tensor, kept: tuple[int, ...] = ()
) -> list[Checkpoint]:
    """Full-batch gradient descent on weighted losses; copies of the parameters after the steps in ``kept``."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=RATE)
    checkpoints = []
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        (weights * cross_entropy(model(inputs), classes, reduction="none")).mean().backward()
        optimizer.step()
        if step in kept:
            state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            checkpoints.append(Checkpoint(state, RATE, step))
    return checkpoints


class Pipeline:
    """Both stages, with a weight for each pre-training example; ``frozen`` leaves the trunk out of the second."""

    def __init__(self, weights: Tensor, frozen: bool = False, dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(3)
        self.first = TwoHeads("old", 4).to(dtype)
        self.second = TwoHeads("new", 3).to(dtype)
        inputs, classes = pretraining_data()
        self.first_points = trained(self.first, inputs.to(dtype), classes, weights.to(dtype), KEPT)
        self.second.trunk.load_state_dict(self.first.trunk.state_dict())
        self.second.trunk.requires_grad_(not frozen)
        inputs, classes = finetuning_data()
        everyone = torch.ones(SECOND, dtype=dtype)
        self.second_points = trained(self.second, inputs[:SECOND].to(dtype), classes[:SECOND], everyone, KEPT)
        self.dtype = dtype

    def pretraining(self) -> Task:
        inputs, classes = pretraining_data()
        return self._task(self.first, self.first_points, Pairs(inputs, classes.tolist()), None, "abcd")

    def finetuning(self) -> Task:
        inputs, classes = finetuning_data()
        train = Pairs(inputs[:SECOND], classes[:SECOND].tolist())
        test = Pairs(inputs[SECOND:], classes[SECOND:].tolist())
        return self._task(self.second, self.second_points, train, test, "abc")

    def outcome(self, position: int) -> float:
        """The logit of 'a' of a test example."""
        inputs, _ = finetuning_data()
        with torch.no_grad():
            return float(self.second(inputs[SECOND + position :][:1].to(self.dtype))[0, 0])

    def _task(
        self, model: nn.Module, points: list[Checkpoint], train: Pairs, test: Pairs | None, names: str
    ) -> Task:
        return Task(
            model=model,
            train=train,
            test=test or train,
            class_names=list(names),
            checkpoints=points,
            learning_rate=RATE,
            steps=STEPS,
        )


def retrained_effects(position: int, frozen: bool) -> np.ndarray:
    """Derivative of a test logit in the weight of each pre-training example, by central differences in float64."""
    effects = []
    for example in range(FIRST):
        outcomes = []
        for sign in (1, -1):
            weights = torch.ones(FIRST, dtype=torch.float64)
            weights[example] += sign * EPSILON
            outcomes.append(Pipeline(weights, frozen, torch.float64).outcome(position))
        effects.append((outcomes[0] - outcomes[1]) / (2 * EPSILON))
    return np.array(effects)


def stages(folder: Path, frozen: bool = False) -> tuple[Engine, Engine]:
    """The engines of fine-tuning and of pre-training."""
    pipeline = Pipeline(torch.ones(FIRST), frozen)
    return engine_of(folder / "fine", pipeline.finetuning), engine_of(folder / "pre", pipeline.pretraining)


@pytest.mark.parametrize("frozen", [False, True])
def test_scores_of_the_first_stage_follow_training_both_again(tmp_path: Path, frozen: bool) -> None:
    """A network with layers that depend on each other, which SOURCE follows one by one: alike, not equal."""
    fine, pre = stages(tmp_path, frozen)
    agreements = []
    for position in range(3):
        found = fine.explain_stage(str(position), [pre], measurement="logit:a").scores
        truth = retrained_effects(position, frozen)
        agreements.append(np.corrcoef(found, truth)[0, 1])
        assert 0.4 < np.linalg.norm(found) / np.linalg.norm(truth) < 2
    assert np.mean(agreements) > 0.6, agreements


def linear_task(seed: int, count: int, start: Tensor, rate: float, steps: int, weights: Tensor) -> Task:
    """Full-batch gradient descent on squared errors from ``start`` (O, I), examples weighted, all in float64."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, WIDTH, generator=generator)
    classes = labels(count, seed=seed)
    targets = torch.eye(3, dtype=torch.float64)[classes]
    parameters = start.double()
    states = [parameters]
    for _ in range(steps):
        errors = (inputs.double() @ parameters.T - targets) * weights.unsqueeze(1)
        parameters = parameters - rate * errors.T @ inputs.double() / count
        states.append(parameters)
    model = nn.Linear(WIDTH, 3, bias=False)
    model.load_state_dict({"weight": parameters.float()})
    return Task(
        model,
        Pairs(inputs, classes),
        Pairs(inputs[:4], classes[:4]),
        ["a", "b", "c"],
        checkpoints=[
            Checkpoint({"weight": states[step].float()}, rate, step)
            for step in range(steps // 4, steps + 1, steps // 4)
        ],
        learning_rate=rate,
        steps=steps,
        loss=squared_error,
    )


def linear_pipeline(weights: Tensor) -> tuple[Task, Task]:
    first = linear_task(5, 96, torch.zeros(3, WIDTH), 0.05, 40, weights)
    middle = first.checkpoints[-1].tensors()["weight"]
    return first, linear_task(6, 64, middle, 0.04, 20, torch.ones(64, dtype=torch.float64))


def test_two_stages_of_a_linear_model_are_the_unrolled_derivative(tmp_path: Path) -> None:
    """One layer, squared errors: nothing is left out but the sampling of EK-FAC and the size of a step."""
    first, second = linear_pipeline(torch.ones(96, dtype=torch.float64))
    fine, pre = engine_of(tmp_path / "fine", lambda: second), engine_of(tmp_path / "pre", lambda: first)
    found = fine.explain_stage("0", [pre], measurement="logit:a").scores
    test = second.train[0][0].double()
    truth = np.zeros(96)
    for example in range(96):
        ends = []
        for sign in (1, -1):
            weights = torch.ones(96, dtype=torch.float64)
            weights[example] += sign * 0.5
            ends.append(linear_pipeline(weights)[1].checkpoints[-1].tensors()["weight"].double())
        truth[example] = float(((ends[0] - ends[1])[0] @ test).item())
    assert np.linalg.norm(found - truth) / np.linalg.norm(truth) < 0.2


def test_no_stage_before_is_the_run_itself(tmp_path: Path) -> None:
    fine, _ = stages(tmp_path)
    whole = fine.explain("0", method="source").scores
    assert np.array_equal(fine.explain_stage("0", []).scores, whole)


def test_stages_that_share_nothing_are_refused(tmp_path: Path) -> None:
    inputs = torch.randn(12, WIDTH, generator=torch.Generator().manual_seed(2))
    other = Task(
        nn.Sequential(nn.Linear(WIDTH, 3)),
        Pairs(inputs, labels(12)),
        Pairs(inputs, labels(12)),
        ["a", "b", "c"],
        checkpoints=[Checkpoint({}, 0.1, 10)],
        steps=10,
        learning_rate=0.1,
    )
    fine, _ = stages(tmp_path)
    with pytest.raises(UsageError, match="no parameter of the same name in common"):
        fine.explain_stage("0", [engine_of(tmp_path / "other", lambda: other)])


def test_a_stage_without_checkpoints_says_so(tmp_path: Path) -> None:
    pipeline = Pipeline(torch.ones(FIRST))
    pipeline.first_points = []
    fine = engine_of(tmp_path / "fine", pipeline.finetuning)
    pre = engine_of(tmp_path / "pre", pipeline.pretraining)
    with pytest.raises(MissingRequirementError, match="needs checkpoints"):
        fine.explain_stage("0", [pre])


@pytest.fixture
def linked(tmp_path: Path) -> Callable[[str | None], Project]:
    """A project of the second stage that names the first one."""
    fine, _ = stages(tmp_path)

    def project(after: str | None) -> Project:
        manifest = fine.project.manifest.model_copy(update={"after": after})
        return create_project(fine.project.directory, manifest)

    return project


def test_the_command_line_names_the_stage(
    linked: Callable[[str | None], Project], tmp_path: Path, tracefix: CommandLine
) -> None:
    project = linked(str(tmp_path / "pre"))
    assert [stage.name for stage in project.earlier_stages()] == ["pre"]
    assert project.prepared, "the stage before changes nothing about this one"
    prepare(project, device="cpu")
    question = ["explain", str(project.directory), "0"]
    outcome = tracefix(*question, "--stage", "pre", "--json")
    assert outcome.status == 0, outcome.err
    document = json.loads(outcome.out)
    assert document["method"] == "source" and document["example"]["id"] == "0"
    assert {card["label"] for card in document["culprits"] + document["helpers"]} <= set("abcd")
    refused = tracefix.refused(*question, "--stage", "base", "--json")
    assert "has no earlier stage 'base': they are pre." in refused
    refused = tracefix.refused(*question, "--stage", "pre", "--method", "ekfac", status=2)
    assert "--stage follows the training" in refused


def test_a_circle_of_stages_is_refused(linked: Callable[[str | None], Project]) -> None:
    project = linked(".")
    with pytest.raises(ProjectError, match="would be a stage before itself"):
        project.earlier_stages()


def test_two_questions_that_cross_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Each asks for the other's stage: both have to take the two engines in the same order."""
    fine, pre = stages(tmp_path)
    taken: list[str] = []

    class Recorded:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            taken.append(self.name)

        def __exit__(self, *problem: object) -> None: ...

    fine._lock, pre._lock = Recorded("fine"), Recorded("pre")
    fine.explain_stage("0", [pre])
    one = taken.copy()
    taken.clear()
    pre.explain_stage("0", [fine])
    assert sorted(one) == ["fine", "pre"] and one == taken
