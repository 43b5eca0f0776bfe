"""Where a run of steps ends, what it takes back, and what it does not work out again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn

from attribution import Engine, Task
from attribution.batches import batch_of
from attribution.errors import NumericalError
from attribution.fixing.descent import CLEAR_LEAD, Target, descend
from attribution.fixing.guard import Guard
from attribution.fixing.objective import Objective
from attribution.fixing.optimization import Optimization
from attribution.fixing.step_size import Start
from attribution.projects import Project
from tests.unit.tiny_models import trained_mlp
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


def test_reached_means_that_it_stays(task: Task, target: Target) -> None:
    objective = Objective(
        trained=[type(target.batch)(target.batch.positions, target.batch.inputs, target.true)]
    )
    run = descend(task, task.model, objective, target, learning_rate=0.2, max_steps=50)
    assert run.fixed and run.stopped == "reached"
    longer = descend(
        task, task.model, objective, unreachable(target),
        learning_rate=0.2, max_steps=run.steps + 2,
    )  # fmt: skip
    torch.testing.assert_close(longer.probabilities[: run.steps], run.probabilities[:-1], rtol=0, atol=0)
    assert bool((longer.probabilities[run.steps :].argmax(dim=2) == target.true).all())
    assert not target.reached(run.probabilities[-2])


@dataclass(frozen=True)
class Fickle(Target):
    """Reached whenever it is looked at after a step, and lost whenever the step after it is looked at."""

    looks: list[bool] = field(default_factory=list)

    def reached(self, probabilities: Tensor) -> Tensor:
        if probabilities.dim() > 2 or len(probabilities) != 1:
            return super().reached(probabilities)
        self.looks.append(len(self.looks) % 2 == 0)
        return torch.tensor([self.looks[-1]])


def test_a_step_that_was_looked_at_is_not_worked_out_again(
    task: Task, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = Objective(trained=[replace(target.batch, labels=target.true)])
    optimization = Optimization("adam")
    never = unreachable(target)
    plain = descend(
        task, task.model, objective, never, learning_rate=1e-3, max_steps=6, optimization=optimization
    )
    worked_out: list[int] = []
    loss = Objective.loss

    def counted(self: Objective, task: Task, model: nn.Module, step: int) -> Tensor:
        worked_out.append(step)
        return loss(self, task, model, step)

    monkeypatch.setattr(Objective, "loss", counted)
    fickle = Fickle(target.batch, target.true, target.predicted)
    run = descend(
        task,
        task.model,
        objective,
        fickle,
        learning_rate=1e-3,
        max_steps=6,
        optimization=optimization,
        ends_early=False,
    )
    assert run.steps == plain.steps == 6 and fickle.looks[:12] == [True, False] * 6
    torch.testing.assert_close(run.probabilities, plain.probabilities, rtol=0, atol=0)
    torch.testing.assert_close(weights(run.model), weights(plain.model), rtol=0, atol=0)
    assert worked_out == list(range(7)), "one more than were taken"


def test_all_recipes_share_their_first_step(task: Task, target: Target) -> None:
    objective = Objective(
        [replace(target.batch, labels=target.true)], rest=[[batch_of(task, "train", [0, 1, 2])]]
    )
    start = Start(task, task.model, objective, Optimization("sgd", 0.9, 1e-3))
    for replay in (False, True):
        applied = objective if replay else objective.without_rest()
        known, anew = (
            descend(
                task,
                task.model,
                applied,
                unreachable(target),
                learning_rate=0.1,
                max_steps=4,
                optimization=start.optimization,
                first=first,
            )
            for first in (start.first(replay=replay), None)
        )
        torch.testing.assert_close(weights(known.model), weights(anew.model), rtol=0, atol=0)


def test_the_last_step_goes_no_further_than_it_has_to(task: Task, target: Target) -> None:
    objective = Objective(
        trained=[type(target.batch)(target.batch.positions, target.batch.inputs, target.true)]
    )
    run = descend(task, task.model, objective, target, learning_rate=2.0, max_steps=50)
    whole = descend(task, task.model, objective, unreachable(target), learning_rate=2.0, max_steps=run.steps)
    true = int(target.true)
    reached, overshot = (float(found.probabilities[-1, 0, true]) for found in (run, whole))
    rest = max(p for c, p in enumerate(run.probabilities[-1, 0].tolist()) if c != true)
    assert (1 + CLEAR_LEAD) * rest <= reached < overshot
    # The weights lie on the last step, less than a sixteenth of it beyond where the lead is reached.
    before, start = (dict(found.named_parameters()) for found in (whole.model, task.model))
    for name, parameter in run.model.named_parameters():
        step = before[name] - start[name]
        if run.steps == 1 and bool((step.abs() > 1e-4).any()):
            shares = ((parameter.detach() - start[name].detach()) / step.detach())[step.abs() > 1e-4]
            assert float(shares.max() - shares.min()) < 1e-2 and 0 < float(shares.mean()) < 1


def test_a_guard_ends_before_more_would_break(task: Task, never: Target) -> None:
    test = batch_of(task, "test", range(task.size("test")))
    right = (task.logits(task.model, test.inputs).argmax(dim=1) == test.labels).nonzero()[:, 0].tolist()
    objective = Objective(trained=[type(test)(test.positions, test.inputs, (test.labels + 1) % 3)])

    def broken(model: nn.Module) -> int:
        with torch.no_grad():
            after = task.logits(model, test.inputs).argmax(dim=1)
        return int((after != test.labels)[right].sum())

    free = descend(task, task.model, objective, never, learning_rate=0.1, max_steps=40)
    assert broken(free.model) > 2
    for limit in (0, 2):
        guard = Guard(task, limit, right, CPU, 5)
        run = descend(
            task, task.model, objective, never, learning_rate=0.1, max_steps=40, guard=guard
        )  # fmt: skip
        assert run.stopped == "guard" and broken(run.model) <= limit
        further = descend(task, task.model, objective, never, learning_rate=0.1, max_steps=run.steps + 1)
        assert broken(further.model) > limit
        torch.testing.assert_close(further.probabilities[: run.steps + 1], run.probabilities, rtol=0, atol=0)


def test_a_guarded_fix_breaks_no_more_and_says_so(engine: Engine) -> None:
    stopped = 0
    for wrong in engine.project.mispredictions()[:8]:
        fix = engine.fix(wrong["id"], guard=1)
        assert len(fix.newly_broken) <= 1 and fix.guard == 1
        assert fix.fixed or fix.stopped in {"guard", "steps"}
        stopped += fix.stopped == "guard"
    assert stopped, "the hardest mispredictions cannot all be fixed at this price"


def test_nan_stops_and_restores(task: Task, never: Target) -> None:
    before = weights(task.model).clone()
    objective = Objective(trained=[batch_of(task, "train", [0, 1])])
    with pytest.raises(NumericalError, match=r"diverged at step 1: .* nothing was changed"):
        descend(task, task.model, objective, never, learning_rate=float("inf"), max_steps=5)
    assert torch.equal(weights(task.model), before)


def test_a_fix_of_an_older_history_is_replayed_as_it_was_made(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There all steps were taken, however far from the target they led."""
    wrong = engine.project.mispredictions()[0]["id"]
    monkeypatch.setattr("attribution.fixing.descent._Pace.too_slow", lambda *looked, left: False)
    culprits = [edit.train_id for edit in engine.suggest(engine.explain(wrong), strategy="unlearn", top=3)]
    old = engine.fix(wrong, strategy="helpers", train_ids=culprits, steps=25)
    monkeypatch.undo()
    new = engine.fix(wrong, strategy="helpers", train_ids=culprits, steps=25)
    assert new.ends_early and new.stopped == "stalled" and new.steps < old.steps
    older = old.model_copy(update={"ends_early": False})
    for fix in (older, new):
        engine.project.history.save(fix)
        assert engine.replay(fix.fix_id).difference == 0
