"""Strategies: what each minimises, where each stops, and that what it leaves out plays no part."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import binomtest
from torch import Tensor, nn

from attribution import Engine, Task
from attribution.batches import batch_of
from attribution.capture import GradientCapture
from attribution.errors import UsageError
from attribution.fixing import STRATEGIES, strategy_of
from attribution.fixing.context import FIXING_DAMPING, natural_steps
from attribution.fixing.descent import Descent, Target, descend
from attribution.fixing.objective import Drawn, Objective, Unlearnable, Unlearned
from attribution.fixing.optimization import Optimization
from attribution.fixing.side_effects import calibration_error, mcnemar
from attribution.fixing.step_size import Start
from attribution.fixing.treatment import Slices, Treatment
from attribution.progress import Reporter
from attribution.projects import Edit, Project
from tests.unit.tiny_models import TRAIN, trained_mlp
from tests.unit.tiny_targets import mistakes, unreachable, weights

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def task() -> Task:
    return trained_mlp()


@pytest.fixture(scope="module")
def target(task: Task) -> Target:
    """The first test example that the model gets wrong."""
    return mistakes(task, 1)


@pytest.fixture(scope="module")
def never(target: Target) -> Target:
    """A target that is no class: fine-tuning then uses all its steps."""
    return unreachable(target)


@pytest.fixture(scope="module")
def engine(prepared_digits: Project) -> Engine:
    return Engine(prepared_digits, device="cpu")


@pytest.fixture(scope="module")
def misprediction(engine: Engine) -> str:
    return str(engine.project.mispredictions()[-5]["id"])


def losses(task: Task, model: nn.Module, positions: list[int]) -> Tensor:
    batch = batch_of(task, "train", positions)
    with torch.no_grad():
        return task.loss(task.logits(model, batch.inputs), batch.labels)


# -- remove -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimization", "build"),
    [
        (
            Optimization("sgd", 0.9, 1e-3),
            lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9, weight_decay=1e-3),
        ),
        (Optimization("adam"), lambda ps: torch.optim.Adam(ps, lr=0.05)),
        (
            Optimization("adamw", weight_decay=1e-2),
            lambda ps: torch.optim.AdamW(ps, lr=0.05, weight_decay=1e-2),
        ),
    ],
)
def test_removing_is_continued_training_on_the_others(
    task: Task, never: Target, optimization: Optimization, build: Callable[[Any], torch.optim.Optimizer]
) -> None:
    """Oracle: torch's own optimizer on all other examples in one batch."""
    others = [p for p in range(TRAIN) if p not in {3, 8, 11}]
    run = descend(
        task,
        task.model,
        Objective(rest=Drawn(task, others, len(others), CPU)),
        never,
        learning_rate=0.05,
        max_steps=6,
        optimization=optimization,
    )
    plain = copy.deepcopy(task.model)
    optimizer, batch = build(list(plain.parameters())), batch_of(task, "train", others)
    for _ in range(6):
        optimizer.zero_grad()
        task.loss(task.logits(plain, batch.inputs), batch.labels).mean().backward()
        optimizer.step()
    assert run.steps == 6 and run.stopped == "steps"
    torch.testing.assert_close(weights(run.model), weights(plain), rtol=0, atol=1e-6)
    assert not torch.allclose(weights(run.model), weights(task.model), atol=1e-4)


def test_removed_examples_take_no_part(engine: Engine, misprediction: str) -> None:
    """Whatever the removed examples are, the result is the same: here their inputs are NaN."""
    chosen = [e.train_id for e in engine.suggest(engine.explain(misprediction), strategy="remove", top=5)]
    plain = engine.fix(misprediction, strategy="remove", train_ids=chosen)
    data = engine.task.train
    positions = {engine.project.position("train", i) for i in chosen}

    class Spoilt(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(engine.project.predictions("train"))

        def __getitem__(self, position: int) -> Any:
            inputs, label = data[position]
            return (inputs * float("nan") if position in positions else inputs), label

    engine.explain(misprediction)  # remembered: the spoilt data are only seen by the fix
    engine.task.train = Spoilt()
    try:
        spoilt = engine.fix(misprediction, strategy="remove", train_ids=chosen, steps=plain.max_steps)
    finally:
        engine.task.train = data
    assert spoilt.after == plain.after and spoilt.steps == plain.steps
    # The controls leave out others, and so train on these: on NaN they diverge.
    assert [control.steps for control in spoilt.controls] == [0, 0] != [c.steps for c in plain.controls]


def test_batches_are_drawn_when_asked_for(task: Task) -> None:
    drawn = Drawn(task, list(range(10)), 4, CPU)
    assert len(drawn) == 3 and drawn.examples == 10
    assert [[batch.positions.tolist() for batch in drawn[number]] for number in range(3)] == [
        [[0, 1, 2, 3]],
        [[4, 5, 6, 7]],
        [[8, 9]],
    ]


# -- unlearn ------------------------------------------------------------------------------------------------------


def unlearning(task: Task, never: Target, positions: list[int], rate: float, steps: int) -> Descent:
    objective = Objective(unlearned=Unlearned.of(task, task.model, batch_of(task, "train", positions)))
    return descend(task, task.model, objective, never, learning_rate=rate, max_steps=steps)


@pytest.mark.parametrize("rate", [0.02, 0.3, 5.0, 100.0])
def test_unlearning_raises_the_loss_but_never_above_the_cap(task: Task, never: Target, rate: float) -> None:
    positions = [0, 1, 2, 3, 4, 5]
    cap = 2 * np.log(3)
    before = losses(task, task.model, positions)
    below = before < cap
    previous = before[below].mean()
    for steps in (1, 2, 5, 20, 60):
        run = unlearning(task, never, positions, rate, steps)
        now = losses(task, run.model, positions)[below].mean()
        assert previous - 1e-6 <= now <= cap + 1e-6
        previous = now
        if run.stopped == "cap":
            assert now > cap - 0.1 and run.steps <= steps
    assert previous > before[below].mean() + 0.1


def test_examples_at_the_cap_cannot_be_unlearned(task: Task) -> None:
    batch = batch_of(task, "train", [0])
    model = copy.deepcopy(task.model)
    doubted = Target(batch, torch.tensor([-1]), torch.tensor([0]))
    wrong = int((int(batch.labels) + 1) % 3)
    taught = descend(
        task, model, Objective(trained=[type(batch)(batch.positions, batch.inputs, torch.tensor([wrong]))]), doubted,
        learning_rate=1.0, max_steps=40,
    )  # fmt: skip
    with pytest.raises(Unlearnable, match="nothing to unlearn"):
        Unlearned.of(task, taught.model, batch)


def test_unlearned_culprits_are_believed_by_the_model(engine: Engine, misprediction: str) -> None:
    edits = engine.suggest(engine.explain(misprediction), strategy="unlearn", top=8)
    assert {edit.action for edit in edits} == {"remove"}
    table = engine.project.predictions("train")
    assert all(table.loc[edit.train_id, "loss"] < 2 * np.log(10) for edit in edits)


# -- test, and what all have in common ----------------------------------------------------------------------------


def test_training_on_the_test_example_always_reaches(engine: Engine) -> None:
    for wrong in engine.project.mispredictions():
        fix = engine.fix(wrong["id"], strategy="test")
        assert fix.fixed and fix.stopped == "reached" and fix.train_ids == []


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_the_same_seed_gives_the_same_result_bit_for_bit(
    engine: Engine, misprediction: str, strategy: str
) -> None:
    first, second = (engine.fix(misprediction, strategy=strategy, seed=3, guard=30) for _ in range(2))
    varying = {"fix_id", "seconds", "created"}
    assert first.model_dump(exclude=varying) == second.model_dump(exclude=varying)
    assert first.strategy == (strategy_of(first.edits, strategy) if strategy == "suggest" else strategy)
    assert len(first.controls) == 2
    varying.add("suggestion")  # of edits that are given nothing is suggested
    replayed = engine.fix(misprediction, strategy=strategy, seed=3, guard=30, edits=first.edits or None)
    assert replayed.model_dump(exclude=varying) == first.model_dump(exclude=varying)


def test_edits_say_what_is_done() -> None:
    keep, out = Edit(train_id="a", action="upweight"), Edit(train_id="b", action="remove")
    new = Edit(train_id="c", action="relabel", label="x")
    assert strategy_of([keep], "unlearn") == "helpers"
    assert strategy_of([keep, new], "test") == "relabel"
    assert strategy_of([keep, out, new], "helpers") == "remove"
    assert strategy_of([out], "unlearn") == "unlearn"


def test_removing_and_up_weighting_go_together(engine: Engine, misprediction: str) -> None:
    explanation = engine.explain(misprediction)
    edits = engine.suggest(explanation, strategy="helpers", top=4)
    edits += [
        edit
        for edit in engine.suggest(explanation, strategy="remove", top=8)
        if edit.train_id not in {e.train_id for e in edits}
    ][:4]
    for preferred in ("remove", "unlearn"):
        fix = engine.fix(misprediction, edits=edits, strategy=preferred)
        assert fix.strategy == preferred and fix.edits == edits and fix.replayed > 0


def test_the_test_strategy_takes_no_training_examples(engine: Engine, misprediction: str) -> None:
    known = str(engine.project.predictions("train").index[0])
    with pytest.raises(UsageError, match="test example itself"):
        engine.fix(misprediction, strategy="test", train_ids=[known])
    with pytest.raises(UsageError, match="at least 0"):
        engine.fix(misprediction, guard=-1)


def test_an_example_that_is_used_twice_counts_twice(engine: Engine) -> None:
    """Controls of a small class use some again; relabelled, each time with the label of whom it stands in for."""
    task, target = (
        engine.task,
        Target(batch_of(engine.task, "test", [0]), torch.tensor([1]), torch.tensor([0])),
    )
    chosen = [5, 3, 5, 5]
    twice = Treatment("relabel", chosen, ["relabel"] * 4, [1, 2, 3, 4])
    objective = twice.objective(task, task.model, target, [], max_steps=1, device=CPU)
    batch = batch_of(task, "train", chosen)
    expected = task.loss(task.logits(task.model, batch.inputs), torch.tensor([1, 2, 3, 4])).mean()
    torch.testing.assert_close(objective.loss(task, task.model, 0), expected)


# -- step size, slices, side effects ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimization", [Optimization("sgd"), Optimization("adam", betas=(0.0, 0.999)), Optimization("adamw")]
)
def test_the_first_order_step_size_halves_the_margin(
    task: Task, target: Target, optimization: Optimization
) -> None:
    """One tiny step closes that share of the margin which its learning rate is of the planned one."""
    objective = Objective(
        trained=[type(target.batch)(target.batch.positions, target.batch.inputs, target.true)]
    )
    scale = Start(task, task.model, objective, optimization).scale(target, replay=True)
    tiny = 1e-4 * scale.margin / scale.slope
    run = descend(
        task, task.model, objective, unreachable(target),
        learning_rate=tiny, max_steps=1, optimization=optimization,
    )  # fmt: skip
    logits = task.logits(run.model, target.batch.inputs)[0].detach()
    closed = scale.margin - float(logits[target.predicted] - logits[target.true])
    assert closed == pytest.approx(1e-4 * scale.margin, rel=0.1)


def test_stored_moments_scale_the_steps(task: Task, never: Target) -> None:
    """Oracle: g / (√v̂ + ε), where nothing is remembered of earlier gradients."""
    moments = {name: torch.full_like(p, 4.0) for name, p in task.model.named_parameters()}
    optimization = Optimization("adam", betas=(0.0, 0.999), moments=moments)
    objective = Objective(trained=[batch_of(task, "train", [0, 1, 2])])
    loss = objective.loss(task, task.model, 0)
    gradients = torch.autograd.grad(loss, list(task.model.parameters()))
    run = descend(
        task, task.model, objective, never, learning_rate=0.1, max_steps=1, optimization=optimization
    )  # fmt: skip
    expected = weights(task.model) - 0.1 * torch.cat([g.flatten() for g in gradients]) / 2
    # Adam's own update of the moments adds a thousandth of the squared gradient.
    torch.testing.assert_close(weights(run.model), expected, rtol=0, atol=1e-4)


@given(some.integers(2, 60), some.integers(0, 10), some.integers(0, 5))
def test_slices_lie_apart(size: int, taken: int, seed: int) -> None:
    slices = Slices.drawn(size, list(range(min(taken, size - 1))), seed)
    assert slices.replayed and slices.watched
    assert not {*slices.replayed, *slices.watched} & set(range(min(taken, size - 1)))
    if size - min(taken, size - 1) > 1:
        assert not set(slices.replayed) & set(slices.watched)


@given(some.integers(0, 40), some.integers(0, 40))
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected)


def test_calibration_error_of_cases_worked_by_hand() -> None:
    right = np.array([True, True, False, False])
    assert calibration_error(right, np.array([0.5] * 4)) == pytest.approx(0)
    assert calibration_error(right, np.array([1.0] * 4)) == pytest.approx(0.5)
    # Two bins: two at .9, one of them right; two at .1, one of them right.
    assert calibration_error(np.array([True, False, True, False]), np.array([0.9, 0.9, 0.1, 0.1])) == (
        pytest.approx(0.4)
    )


def test_side_effects_are_recorded(engine: Engine, misprediction: str) -> None:
    fix = engine.fix(misprediction)
    changed = fix.fixed + len(fix.newly_fixed), len(fix.newly_broken)
    assert fix.mcnemar_p == pytest.approx(mcnemar(*changed))
    table = engine.project.predictions("test")
    assert fix.calibration_before == pytest.approx(
        calibration_error((table["label"] == table["predicted"]).to_numpy(), table["confidence"].to_numpy())
    )
    assert fix.calibration_after is not None and 0 <= fix.calibration_after <= 1


def test_natural_steps_are_solved_with_the_curvature(engine: Engine, misprediction: str) -> None:
    """Oracle: EK-FAC's own inverse of the loss gradient, by parameter; and what they spare is the rest."""
    final = engine._loaded.trajectory.final
    model = engine._loaded.trajectory.model_at(final)
    mapped = natural_steps(engine._run, Reporter())
    parameters = dict(model.named_parameters())
    gradients = {
        name: torch.randn(p.shape, generator=torch.Generator().manual_seed(number))
        for number, (name, p) in enumerate(parameters.items())
    }
    capture = GradientCapture(engine.task, model)
    found = engine._loaded.curvature.at(final, Reporter())
    damping = FIXING_DAMPING * found.mean_eigenvalue()
    once = found.inverse(capture.from_parameters({n: g[None] for n, g in gradients.items()}), damping)
    for name, tensor in mapped(gradients).items():
        torch.testing.assert_close(tensor, damping * capture.to_parameters(once)[name][0])
        assert tensor.norm() <= gradients[name].norm() * (1 + 1e-4)
    assert engine.fix(misprediction).optimizer == "natural"
    assert engine.fix(misprediction, strategy="remove").optimizer == "sgd"
