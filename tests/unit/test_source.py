"""SOURCE against the derivative of training itself, unrolled step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attribution import Checkpoint, Engine, Task
from attribution.curvature import EKFAC
from attribution.curvature.damping import span_length, training_length
from attribution.curvature.ekfac import EigenBlock, fit_mean_ekfac
from attribution.dynamics import accumulation
from attribution.methods import availability, method_named
from attribution.methods.source import Source
from attribution.segments import segments_of
from attribution.trajectory import MeanCheckpoint, Trajectory
from tests.unit.built_projects import engine_of
from tests.unit.tiny_models import Pairs, labels, squared_error, trained_mlp
from tests.unit.unrolled import distance, source_scores

COUNT, TESTED, WIDTH, CLASSES = 24, 6, 4, 3


def data() -> tuple[Tensor, list[int]]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(COUNT + TESTED, WIDTH, generator=generator), labels(COUNT + TESTED)


def extended() -> Tensor:
    """Training inputs with a column of ones, (N, WIDTH + 1) in float64."""
    inputs = data()[0][:COUNT].double()
    return torch.cat([inputs, torch.ones(COUNT, 1, dtype=torch.float64)], dim=1)


def onehot() -> Tensor:
    return torch.eye(CLASSES, dtype=torch.float64)[data()[1][:COUNT]]


def moment() -> Tensor:
    """The Hessian of half the mean squared error, once for each output."""
    return extended().T @ extended() / COUNT


def optimum() -> Tensor:
    return torch.linalg.solve(moment(), extended().T @ onehot() / COUNT).T


class Run:
    """Full-batch gradient descent on a linear model with squared errors, and its derivative in each example's weight.

    ``states`` are weights (O, I + 1) before each step and after the last; ``effects`` (N, O, I + 1) the derivative of
    the last in the weight of example i, by differentiating every step.
    """

    def __init__(
        self, start: Tensor, rates: Sequence[float], momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        self.rates, self.momentum, self.weight_decay = list(rates), momentum, weight_decay
        features, targets = extended(), onehot()
        weights, velocity = start.double(), torch.zeros_like(start.double())
        effects = torch.zeros(COUNT, *start.shape, dtype=torch.float64)
        effect_velocity = torch.zeros_like(effects)
        self.states = [weights]
        for rate in rates:
            errors = features @ weights.T - targets
            own = torch.einsum("no,ni->noi", errors, features) / COUNT
            velocity = momentum * velocity + own.sum(dim=0) + weight_decay * weights
            effect_velocity = momentum * effect_velocity + own + effects @ moment() + weight_decay * effects
            weights = weights - rate * velocity
            effects = effects - rate * effect_velocity
            self.states.append(weights)
        self.effects = effects

    def task(self, steps: Sequence[int]) -> Task:
        """The run as a task, with checkpoints at ``steps``."""
        inputs, classes = data()
        model = nn.Linear(WIDTH, CLASSES)
        model.load_state_dict(self._state(len(self.rates)))
        rates = [*self.rates, self.rates[-1]]
        return Task(
            model=model,
            train=Pairs(inputs[:COUNT], classes[:COUNT]),
            test=Pairs(inputs[COUNT:], classes[COUNT:]),
            class_names=["a", "b", "c"],
            checkpoints=[Checkpoint(self._state(step), rates[step], step) for step in steps],
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            learning_rate=self.rates[0],
            steps=len(self.rates),
            loss=squared_error,
        )

    def _state(self, step: int) -> dict[str, Tensor]:
        weights = self.states[step].float()
        return {"weight": weights[:, :-1].clone(), "bias": weights[:, -1].clone()}

    def expected(self) -> np.ndarray:
        """Derivative of logit 'a' of the first test example in each example's weight."""
        test = torch.cat([data()[0][COUNT].double(), torch.ones(1, dtype=torch.float64)])
        return (self.effects[:, 0] @ test).numpy()


def exact_spectrum() -> EKFAC:
    values, basis = torch.linalg.eigh(moment())
    block = EigenBlock(None, basis.float(), values.float().clamp_min(0).repeat(CLASSES, 1))
    return EKFAC({"": block})


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Task, int], np.ndarray]:
    """SOURCE's scores for logit 'a' of the first test example, with the exact curvature of the linear model."""

    return lambda task, segments: source_scores(tmp_path, monkeypatch, task, exact_spectrum(), segments)


def test_one_segment_is_the_unrolled_derivative_up_to_the_step_size(
    scored: Callable[[Task, int], np.ndarray],
) -> None:
    """At the optimum gradients stay as they are, and all that differs is exp(-ηKσ) from (1 - ησ)^K: halved with η."""
    found = []
    for rate in (0.2, 0.1, 0.05):
        run = Run(optimum(), [rate] * round(4 / rate))
        found.append(distance(scored(run.task([len(run.rates)]), 1), run.expected()))
    assert found[0] < 0.1 and found[2] < 0.02
    assert found[1] == pytest.approx(found[0] / 2, rel=0.2)
    assert found[2] == pytest.approx(found[1] / 2, rel=0.2)


@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.9, 0.0), (0.0, 0.3), (0.9, 0.3)])
def test_momentum_and_weight_decay_are_those_of_training(
    scored: Callable[[Task, int], np.ndarray], momentum: float, weight_decay: float
) -> None:
    settled = torch.linalg.solve(
        moment() + weight_decay * torch.eye(WIDTH + 1), extended().T @ onehot() / COUNT
    ).T
    rate = 0.02 * (1 - momentum)
    run = Run(settled, [rate] * round(4 / 0.02), momentum, weight_decay)
    assert distance(scored(run.task([len(run.rates)]), 1), run.expected()) < 0.05


def test_a_schedule_counts_by_the_sum_of_its_learning_rates(
    scored: Callable[[Task, int], np.ndarray],
) -> None:
    rates = [0.08 * (1 - step / 100) for step in range(100)]
    run = Run(optimum(), rates)
    assert distance(scored(run.task([50, 100]), 1), run.expected()) < 0.02


def test_more_segments_follow_changing_gradients_better(
    scored: Callable[[Task, int], np.ndarray],
) -> None:
    """From a random start the gradients change along the run: each segment has to use its own."""
    start = torch.randn(CLASSES, WIDTH + 1, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    run = Run(start, [0.02] * 120)
    task = run.task(range(10, 121, 10))
    found = {count: distance(scored(task, count), run.expected()) for count in (1, 3, 12)}
    assert max(found[3], found[12]) < min(0.1, 0.5 * found[1])
    last_only = distance(scored(run.task([120]), 1), run.expected())
    assert last_only > 5 * found[3]


def test_with_its_own_curvature_source_stays_close_to_the_unrolled_derivative(tmp_path: Path) -> None:
    """EK-FAC from random signs: what is lost against the exact spectrum is the sampling of 192 draws."""
    run = Run(optimum(), [0.05] * 80)
    engine = engine_of(tmp_path / "project", lambda: run.task([40, 80]))
    found = engine.explain("0", method="source", measurement="logit:a").scores
    assert distance(found, run.expected()) < 0.2
    fast = engine.explain("0", method="fast_source", measurement="logit:a").scores
    assert distance(fast, run.expected()) < 0.2


@pytest.mark.parametrize("method", ["source", "fast_source"])
def test_every_example_twice_halves_the_score_of_each(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eigenvalues are means over examples: sums would double ηKσ in the exponential, and SOURCE has no scale to spare.

    With labels of the data in place of random signs both copies of an example are fitted to alike.
    """
    monkeypatch.setattr(
        "attribution.curvature.store.fit_mean_ekfac", partial(fit_mean_ekfac, probe="empirical")
    )
    once = Run(optimum(), [0.05] * 80).task([20, 40, 60, 80])
    data = once.train
    assert isinstance(data, Pairs)
    twice = replace(once, train=Pairs(list(data.inputs) * 2, data.labels * 2), train_ids=None)
    single, double = (
        engine_of(tmp_path / name, lambda task=task: task)
        .explain("0", method=method, measurement="logit:a")
        .scores
        for name, task in (("once", once), ("twice", twice))
    )
    assert np.allclose(double[:COUNT], double[COUNT:])
    assert distance(2 * double[:COUNT], single) < 1e-3


def test_lengths_of_parts_add_up_to_the_whole() -> None:
    task = trained_mlp()
    task.momentum = 0.5
    whole = training_length(task)
    parts = [span_length(task, start, end) for start, end in ((0, 5), (5, 10), (10, 21), (21, 30))]
    assert None not in parts and whole is not None
    assert sum(part for part in parts if part is not None) == pytest.approx(whole)
    segments = segments_of(task, Trajectory(task).followed, 2)
    assert sum(segment.length for segment in segments) == pytest.approx(whole)
    assert [point.number for segment in segments for point in segment.points] == [0, 1, 2]


def test_directions_without_curvature_accumulate_the_whole_length() -> None:
    rates = torch.tensor([0.0, 1e-12, 2.0])
    expected = torch.tensor([3.0, 3.0, (1 - np.exp(-6)) / 2]).float()
    assert torch.allclose(accumulation(rates, 3.0), expected)


@pytest.mark.parametrize("method", ["source", "fast_source"])
def test_batch_size_and_the_index_change_no_score(
    tmp_path: Path, engine: Engine, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = engine.project.mispredictions()[0]["id"]
    indexed = engine.explain(wrong, method=method).scores
    monkeypatch.setattr("attribution.preparation.gradient_batch_size", lambda task: 7)
    monkeypatch.setattr("attribution.runs.gradient_batch_size", lambda task: 7)
    other = engine_of(tmp_path / "project", trained_mlp)
    for use_index in (True, False):
        found = other.explain(wrong, method=method, use_index=use_index).scores
        assert np.allclose(found, indexed, rtol=1e-2, atol=1e-3 * np.abs(indexed).max())


def test_the_segments_of_fast_source_are_at_the_mean_of_the_parameters() -> None:
    task = Run(optimum(), [0.05] * 40).task([10, 20, 30, 40])
    trajectory = Trajectory(task)
    means = trajectory.segment_means
    assert [point.number for point in means] == [0, 5, 3]  # groups of one, two and one checkpoints
    middle = trajectory.model_at(means[1]).state_dict()["weight"]
    first, second = (task.checkpoints[number].tensors()["weight"] for number in (1, 2))
    assert torch.allclose(middle, (first + second) / 2)
    assert torch.equal(trajectory.model_at(trajectory.final).state_dict()["weight"], task.model.weight)


def test_names_absent_from_a_checkpoint_count_with_their_final_value_in_the_mean() -> None:
    task = trained_mlp()
    whole = {name: tensor + 3.0 for name, tensor in task.model.state_dict().items()}
    part = {"0.weight": whole["0.weight"]}
    for states in ([whole, part, part], [part, part, whole], [part, whole, part]):
        checkpoints = [Checkpoint(state, 0.1, step) for step, state in enumerate(states, start=1)]
        trajectory = Trajectory(replace(task, checkpoints=checkpoints))
        mean = MeanCheckpoint({}, 0.1, 3, members=tuple(checkpoints), final=task.model.state_dict()).tensors()
        assert trajectory.segment_means and set(mean) == set(whole)
        for name, tensor in task.model.state_dict().items():
            shift = 3.0 if name in part else 1.0
            torch.testing.assert_close(mean[name], tensor + shift)


def test_source_says_what_it_needs(tmp_path: Path, engine: Engine) -> None:
    assert availability(engine.project)["source"] is None
    adam = replace(engine.facts, optimizer="adamw")
    missing = str(method_named("source").missing(adam))
    assert "was trained with adamw" in missing and "optimizer.pt" in missing and "second_moments" in missing
    assert method_named("fast_source").missing(replace(adam, second_moments=True)) is None
    unknown = replace(engine.facts, optimizer="unknown")
    assert "names neither: use path" in str(method_named("source").missing(unknown))
    bare = replace(engine.facts, checkpoints=0)
    assert "needs checkpoints" in str(Source(segments=2).missing(bare))
