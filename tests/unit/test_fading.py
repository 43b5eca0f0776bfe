"""The fading study: true effects against closed forms, what is kept, and the curve that it is there to show."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from attribution import Engine, Task
from attribution.errors import Cancelled, MissingRequirementError, UsageError
from attribution.fixing.optimization import Optimization
from attribution.progress import SILENT, CancelToken, Reporter
from attribution.projects import Project
from attribution.projects.study_records import FADING
from attribution.studies import fading as fading_module
from attribution.studies.fading import (
    FEWEST,
    agreement,
    chosen_examples,
    fading_study,
    holds_until,
)
from attribution.studies.nudges import LARGEST, SMALLEST, Continuation, Effect, effect_of, nudge_for
from tests.command_line import CommandLine
from tests.unit.tiny_models import TEST, TRAIN, trained_mlp

SMALL = {"methods": ["grad_dot", "random"], "steps": 5, "examples": FEWEST, "queries": 4}


@pytest.fixture
def engine(own_digits: Project) -> Engine:
    return Engine(own_digits, device="cpu")


@pytest.fixture(scope="module")
def task() -> Task:
    return trained_mlp()


def going_on(task: Task, **changed: object) -> Continuation:
    plain = Continuation(task, task.model.eval(), Optimization("sgd"), 0.05, 0.02, TRAIN, 0)
    return replace(plain, **changed)  # type: ignore[arg-type]


def effect(continuation: Continuation, position: int = 3, steps: tuple[int, ...] = (1, 2, 4)) -> Effect:
    return effect_of(
        continuation,
        position,
        range(TEST),
        steps,
        device="cpu",
        reporter=SILENT,
        message="",
    )


# -- the true effect ----------------------------------------------------------------------------------------------


def test_after_one_step_it_is_the_gradient_dot(task: Task) -> None:
    """Closed form: d logit / dε = -η ∇logit · ∇loss of the example."""
    found = effect(going_on(task, nudge=1e-2), steps=(1,))
    change = (found.logits[1, 0] - found.logits[0, 0]) / (2 * 1e-2)
    parameters = list(task.model.parameters())
    example, test = (
        torch.stack([task.train[3][0]]),
        torch.stack([task.test[row][0] for row in range(TEST)]),
    )
    loss = task.loss(task.model(example), torch.tensor([task.train[3][1]])).sum()
    of_loss = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
    logits = task.model(test)
    for row in range(TEST):
        for column in range(logits.shape[1]):
            own = torch.autograd.grad(logits[row, column], parameters, retain_graph=True)
            expected = -0.05 * float(torch.cat([g.flatten() for g in own]) @ of_loss)
            assert change[row, column] == pytest.approx(expected, abs=2e-3, rel=0.05)
    assert found.distance[0] == pytest.approx(2 * 1e-2 * 0.05 * float(of_loss.norm()), rel=0.02)


def test_without_a_nudge_it_is_exactly_zero(task: Task) -> None:
    found = effect(going_on(task, nudge=0.0, optimization=Optimization("sgd", 0.9, 1e-3)))
    assert (found.logits[0] == found.logits[1]).all() and not found.distance.any()


def test_the_seed_decides_and_the_model_is_left_alone(task: Task) -> None:
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    found = effect(going_on(task, batch_size=8, nudge=1e-3))
    again = effect(going_on(task, batch_size=8, nudge=1e-3))
    assert (found.logits == again.logits).all()
    other = effect(going_on(task, batch_size=8, nudge=1e-3, seed=1))
    assert (found.logits != other.logits).any()
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.model.state_dict().items())


def test_the_nudge_is_the_examples_own_weight_within_bounds() -> None:
    assert nudge_for(1000) == 1e-3
    assert nudge_for(3) == LARGEST and nudge_for(10**7) == SMALLEST


# -- correlations -------------------------------------------------------------------------------------------------


def test_correlations_are_scipys() -> None:
    generator = np.random.default_rng(0)
    scores, real = generator.normal(size=(3, 12)), generator.normal(size=(2, 3, 12))
    found = agreement(scores, real)
    for look in range(2):
        pearson = [pearsonr(scores[q], real[look, q]).statistic for q in range(3)]
        spearman = [spearmanr(scores[q], real[look, q]).statistic for q in range(3)]
        assert found["pearson"][look] == pytest.approx(np.mean(pearson))
        assert found["spearman"][look] == pytest.approx(np.mean(spearman))
        assert found["standard_error"][look] == pytest.approx(np.std(pearson, ddof=1) / np.sqrt(3))
    flat = agreement(np.ones((1, 4)), real[:, :1, :4])
    assert flat["pearson"] == [0.0, 0.0]


def test_it_holds_until_it_first_falls_short() -> None:
    assert holds_until([1, 5, 10, 20], [0.9, 0.5, 0.4, 0.9]) == 5
    assert holds_until([1, 5], [0.9, 0.8]) == 5
    assert holds_until([1, 5], [0.1, 0.9]) is None


def test_half_of_the_examples_are_the_strongest() -> None:
    scores = np.zeros((2, 30))
    scores[0, 4], scores[1, 9], scores[0, 20] = 5.0, -7.0, 3.0
    chosen = chosen_examples(scores, 5, 0)
    assert chosen[:3] == [9, 4, 20] and len(set(chosen)) == 5
    assert len(set(chosen_examples(scores, 100, 0))) == 30


# -- the study ----------------------------------------------------------------------------------------------------


def test_the_gradient_dot_is_near_perfect_at_first_and_fades(engine: Engine) -> None:
    result = fading_study(engine, methods=["grad_dot", "ekfac", "random"], steps=100, examples=12, queries=6)
    assert result["steps"] == [1, 2, 5, 10, 20, 50, 100]
    first_order, influence = (result["methods"][name]["pearson"] for name in ("grad_dot", "ekfac"))
    assert first_order[0] > 0.97 and first_order[-1] < 0.8
    assert influence[-1] > first_order[-1]
    assert result["holds_until"]["random"] is None
    assert all(b > a for a, b in zip(result["divergence"], result["divergence"][1:], strict=False))


def test_a_stopped_study_goes_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    real = fading_module.effect_of

    def counted(continuation: Continuation, position: int, *args: object, **more: object) -> Effect:
        found = real(continuation, position, *args, **more)  # type: ignore[arg-type]
        done.append(position)
        return found

    monkeypatch.setattr(fading_module, "effect_of", counted)
    token = CancelToken()

    def stop(fraction: float, message: str) -> None:
        if "example 3 of" in message:
            token.cancel()

    with pytest.raises(Cancelled):
        fading_study(engine, **SMALL, reporter=Reporter(stop, token))
    assert len(done) == 2 and not (engine.project.directory / FADING).exists()
    first = fading_study(engine, **SMALL)
    assert len(done) == FEWEST
    second = fading_study(engine, **SMALL | {"measurement": "loss"})
    assert len(done) == FEWEST and second["measurement"] == "loss"
    assert fading_study(engine, **SMALL) == first
    fading_study(engine, **SMALL | {"seed": 1})
    assert len(done) == 2 * FEWEST


def test_what_cannot_be_measured_is_said(engine: Engine) -> None:
    with pytest.raises(UsageError, match=f"at least {FEWEST} training examples"):
        fading_study(engine, **SMALL | {"examples": FEWEST - 1})
    engine.task.checkpoints, engine.task.learning_rate = [], None
    with pytest.raises(MissingRequirementError, match="does not say the learning rate"):
        fading_study(engine, **SMALL)


def test_the_command_prints_what_it_stores(tracefix: CommandLine, own_digits: Project) -> None:
    asked = ("--methods", "grad_dot", "--steps", "2", "--examples", str(FEWEST), "--queries", "2")
    outcome = tracefix("study", own_digits.directory, "fading", *asked, "--json")
    assert outcome.status == 0, outcome.err
    document = json.loads(outcome.out)
    assert document == json.loads((own_digits.directory / FADING).read_text())
    assert document["steps"] == [1, 2] and len(document["methods"]["grad_dot"]["pearson"]) == 2
    shown = tracefix("study", own_digits.directory, "fading", *asked)
    assert shown.status == 0 and "step 2 or longer" in shown.out
