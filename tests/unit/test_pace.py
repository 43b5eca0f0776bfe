"""A descent that gets nowhere ends early; one that would get there never does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor

from attribution import Task
from attribution.fixing.descent import PACE_STEPS, Target, _Pace, descend
from attribution.fixing.objective import Drawn, Objective
from dashboard.views.fixes import stop_sentence
from tests.unit.fix_records import record
from tests.unit.tiny_models import TRAIN, trained_mlp
from tests.unit.tiny_targets import mistakes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def task() -> Task:
    return trained_mlp()


@pytest.fixture(scope="module")
def target(task: Task) -> Target:
    """One test example that the model gets wrong."""
    return mistakes(task, 1)


def believed(distance: float) -> Tensor:
    """Probabilities (1, 2) of a target whose true class, the first, lies this far behind in nats."""
    return torch.tensor([[0.0, distance]]).softmax(dim=1)


def steps_until_given_up(target: Target, distances: list[float], most: int) -> int | None:
    pace = _Pace(replace(target, true=torch.tensor([0]), predicted=torch.tensor([1])))
    for step, distance in enumerate(distances[:most]):
        if pace.too_slow(believed(distance), left=most - step - 1):
            return step + 1
    return None


@given(start=some.floats(0.1, 20.0), arrival=some.integers(1, 50), bend=some.floats(0.5, 1.5))
def test_who_arrives_in_time_at_about_one_pace_is_never_given_up(
    target: Target, start: float, arrival: int, bend: float
) -> None:
    way = [max(0.0, start * (1 - ((step + 1) / arrival) ** bend)) for step in range(50)]
    assert steps_until_given_up(target, way, most=50) is None


@given(some.lists(some.floats(-1.0, 3.0), min_size=50, max_size=50))
def test_who_was_there_once_is_never_given_up(target: Target, later: list[float]) -> None:
    assert steps_until_given_up(target, [0.0, *later], most=50) is None


def test_of_several_one_more_that_is_right_is_progress(target: Target) -> None:
    """One of three drifts away faster than the other two come nearer; one of those arrives at step ten."""
    pace = _Pace(Target(target.batch, torch.zeros(3, dtype=torch.long), torch.ones(3, dtype=torch.long)))

    def looks(step: int, arrival: int) -> Tensor:
        ahead = [0.5 * (arrival - step), 2.0, 5.0 + step]
        return torch.cat([believed(distance) for distance in ahead])

    given_up = [pace.too_slow(looks(step, arrival=10), left=50 - step) for step in range(1, 30)]
    assert True not in given_up[: 9 + PACE_STEPS] and given_up[9 + PACE_STEPS]


@pytest.mark.parametrize("distance", [0.5, 5.0, 80.0, 1000.0])
def test_who_stands_still_or_goes_to_and_fro_is_given_up(target: Target, distance: float) -> None:
    assert steps_until_given_up(target, [distance] * 50, most=50) == PACE_STEPS + 1
    assert steps_until_given_up(target, [distance, 1.5 * distance] * 25, most=50) == PACE_STEPS + 1
    assert steps_until_given_up(target, [distance] * 50, most=PACE_STEPS) is None


def test_examples_that_say_nothing_of_the_target_are_given_up(task: Task, target: Target) -> None:
    """Training goes against the true class here: no number of steps will do."""
    away = Objective(trained=[replace(target.batch, labels=target.predicted)])
    run = descend(task, task.model, away, target, learning_rate=0.05, max_steps=50)
    assert run.stopped == "stalled" and run.steps == PACE_STEPS + 1 and not run.fixed
    whole = descend(
        task, task.model, away, target, learning_rate=0.05, max_steps=50, ends_early=False
    )  # as fixes of older histories were made
    assert whole.stopped == "steps" and whole.steps == 50
    torch.testing.assert_close(whole.probabilities[: run.steps + 1], run.probabilities, rtol=0, atol=0)
    fewer = descend(task, task.model, away, target, learning_rate=0.05, max_steps=run.steps)
    assert fewer.stopped == "steps", "with no step left there is nothing to give up"
    torch.testing.assert_close(fewer.probabilities, run.probabilities, rtol=0, atol=0)


def test_training_on_without_examples_goes_to_its_end(task: Task, target: Target) -> None:
    others = Objective(rest=Drawn(task, list(range(TRAIN)), TRAIN, CPU))
    run = descend(task, task.model, others, target, learning_rate=1e-6, max_steps=20)
    assert run.stopped == "steps" and run.steps == 20


def test_the_page_says_that_it_was_given_up() -> None:
    stalled = record("fix-0").model_copy(update={"stopped": "stalled", "fixed": False, "max_steps": 50})
    assert "at this pace the 50 steps allowed" in (stop_sentence(stalled) or "")
