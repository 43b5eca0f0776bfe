"""Sets of training examples, against trying every set."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution.errors import UsageError
from attribution.linear_head import with_ones
from attribution.selection import HeadRemoval, adaptive_set, greedy_set, smallest_flipping_set
from attribution.task import LossFunction, cross_entropy
from tests.unit.built_projects import engine_of
from tests.unit.tiny_models import squared_error, trained_mlp

COUNT = 12


def removal(
    seed: int, loss: LossFunction = squared_error, classes: int = 2, penalty: float = 0.02
) -> HeadRemoval:
    """Twelve points in the plane, some in pairs of near twins."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(COUNT, 2, generator=generator)
    points[COUNT // 2 :] = points[: COUNT // 2] + 0.05 * torch.randn(COUNT // 2, 2, generator=generator)
    labels = torch.randint(classes, (COUNT,), generator=generator)
    test = torch.randn(1, 2, generator=generator)
    return HeadRemoval(
        inputs=with_ones(points),
        labels=labels,
        classes=classes,
        loss=loss,
        penalty=penalty,
        test_input=with_ones(test),
        test_label=torch.tensor([0]),
        value=lambda logits, labels: logits[:, 1] - logits[:, 0],
    )


def drop(problem: HeadRemoval, removed: list[int]) -> float:
    """How far the measurement falls without these examples, by refitting."""
    return problem.measured([]) - problem.measured(removed)


@pytest.mark.parametrize("removed", [[], [3, 8]])
def test_of_squared_errors_scores_are_the_real_effects(removed: list[int]) -> None:
    problem = removal(0)
    scores = problem.scores(removed)
    for position in set(range(COUNT)) - set(removed):
        real = problem.measured(removed) - problem.measured([*removed, position])
        assert float(scores[position]) == pytest.approx(real, abs=1e-5)


def test_the_leverage_formula() -> None:
    """x_fᵀ(XᵀX)⁻¹x_i (ŷ_i - y_i) / (1 - h_ii) is the change of an output on removal of example i."""
    problem = removal(1, penalty=1e-9)
    inputs = problem.inputs
    inverse = torch.linalg.inv(inputs.T @ inputs)
    targets = torch.eye(2, dtype=torch.float64)[problem.labels]
    residuals = inputs @ inverse @ inputs.T @ targets - targets
    leverages = (inputs @ inverse * inputs).sum(dim=1)
    changes = (problem.test_input @ inverse @ inputs.T).T * residuals / (1 - leverages).unsqueeze(1)
    assert torch.allclose(-problem.scores([]), changes[:, 1] - changes[:, 0], atol=1e-5)


def test_of_cross_entropy_scores_are_close_to_the_real_effects() -> None:
    problem = removal(2, cross_entropy, classes=3, penalty=0.1)
    real = np.array([drop(problem, [position]) for position in range(COUNT)])
    scores = problem.scores([]).numpy()
    assert np.corrcoef(scores, real)[0, 1] > 0.99
    assert np.polyfit(scores, real, 1)[0] == pytest.approx(1, abs=0.15)


def best_set(problem: HeadRemoval, size: int) -> list[int]:
    return list(
        max((list(some) for some in combinations(range(COUNT), size)), key=lambda s: drop(problem, s))
    )


def test_adaptive_selection_finds_the_best_set_more_often_than_greedy() -> None:
    """Every set of three is tried. Twins make greedy selection choose what covers for itself."""
    found = {"greedy": 0, "adaptive": 0}
    wins, losses = 0, 0
    for seed in range(12):
        problem = removal(seed)
        best = set(best_set(problem, 3))
        greedy, adaptive = greedy_set(problem.scores([]), 3), adaptive_set(problem.scores, 3)
        found["greedy"] += set(greedy) == best
        found["adaptive"] += set(adaptive) == best
        difference = drop(problem, adaptive) - drop(problem, greedy)
        wins, losses = wins + (difference > 1e-9), losses + (difference < -1e-9)
    assert found["adaptive"] >= 8 and found["adaptive"] > found["greedy"], found
    assert wins > 2 * losses, (wins, losses)


def chosen_by_refitting(problem: HeadRemoval, size: int) -> list[int]:
    """One example after the other, the one whose removal really lowers the measurement most: every one is tried."""
    chosen: list[int] = []
    for _ in range(size):
        free = sorted(set(range(COUNT)) - set(chosen))
        best = max(free, key=lambda position: drop(problem, [*chosen, position]))
        if drop(problem, [*chosen, best]) <= drop(problem, chosen):
            break
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("seed", range(6))
def test_adaptive_selection_is_what_refitting_at_every_step_would_choose(seed: int) -> None:
    problem = removal(seed)
    assert adaptive_set(problem.scores, 4) == chosen_by_refitting(problem, 4)


def test_adaptive_selection_sees_twins_that_cover_for_one_another() -> None:
    """On the line y = 0 lie two equal outliers; each has little effect alone, since the other one stays."""
    line = torch.linspace(-1, 1, 10).unsqueeze(1)
    problem = HeadRemoval(
        inputs=with_ones(torch.cat([line, torch.tensor([[6.0], [6.0]])])),
        labels=torch.tensor([0] * 10 + [1, 1]),
        classes=2,
        loss=squared_error,
        penalty=1e-6,
        test_input=with_ones(torch.tensor([[6.0]])),
        test_label=torch.tensor([0]),
        value=lambda logits, labels: logits[:, 1] - logits[:, 0],
    )
    assert set(adaptive_set(problem.scores, 2)) == {10, 11} == set(best_set(problem, 2))


def test_rounds_of_all_at_once_are_greedy() -> None:
    problem = removal(3)
    assert adaptive_set(problem.scores, 4, per_round=4) == greedy_set(problem.scores([]), 4)
    with pytest.raises(UsageError, match="at least one example a round"):
        adaptive_set(problem.scores, 4, per_round=0)


def test_selection_ends_where_nothing_helps() -> None:
    def never(removed: object) -> Tensor:
        return -torch.ones(5)

    assert adaptive_set(never, 3) == [] and greedy_set(-torch.ones(5), 3) == []


def smallest_by_trying(problem: HeadRemoval, before: int, limit: int) -> int | None:
    for size in range(limit + 1):
        for some in combinations(range(COUNT), size):
            if int(problem.logits(list(some)).argmax()) != before:
                return size
    return None


def test_the_smallest_flipping_set_is_the_smallest_of_all() -> None:
    compared = equal = 0
    for seed in range(12):
        problem = removal(seed)
        if float(problem.measured([])) <= 0:
            continue  # predicted as class 0: the measurement explains class 1
        found = smallest_flipping_set(problem, 4)
        smallest = smallest_by_trying(problem, found.before, 4)
        assert found.flipped == (smallest is not None)
        if smallest is None:
            continue
        assert int(problem.logits(found.positions).argmax()) == found.after != found.before
        for position in found.positions:  # none can be left out
            rest = [other for other in found.positions if other != position]
            assert int(problem.logits(rest).argmax()) == found.before
        compared += 1
        equal += len(found.positions) == smallest
    assert compared >= 4 and equal >= compared - 1


def test_a_project_tells_the_set_that_flips_a_prediction(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", trained_mlp)
    wrong = engine.project.mispredictions()[0]["id"]
    found = engine.flipping_set(wrong, largest=30)
    assert found.flipped and 0 < len(found.positions) <= 30
    assert found.before != found.after
