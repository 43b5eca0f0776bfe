"""Training again by the record: against plain torch loops, duplicated data, and the stored run of a sample."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attribution import Checkpoint, Task
from attribution.batch_order import shuffled_batches
from attribution.errors import Cancelled, MissingRequirementError, NumericalError, ProjectError
from attribution.frozen import build_in_memory
from attribution.learning_rates import rates_of_steps
from attribution.progress import CancelToken, Reporter
from attribution.projects import Project
from attribution.retraining import NO_CHANGES, DataChanges, TrainingRecipe, retrain
from attribution.sources import load_task
from attribution.turnover import TurnoverDropout, masked
from tests.unit.tiny_models import Pairs, labels, small_bert, task_of, texts

SIZE, BATCH, STEPS, RATE = 20, 6, 12, 0.05


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def seeded(make: Callable[[], nn.Module]) -> Callable[[int], Mapping[str, Tensor]]:
    """For `Task.initial`: the weights that ``make`` draws."""

    def weights(seed: int) -> Mapping[str, Tensor]:
        torch.manual_seed(seed)
        return make().state_dict()

    return weights


def data(size: int = SIZE) -> tuple[Tensor, list[int]]:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(size, 4, generator=generator)
    return inputs, inputs[:, :3].argmax(dim=1).tolist()


def tiny_task(make: Callable[[], nn.Module] = network, **more: Any) -> Task:
    """A task that says all of how it was trained; the model itself is untrained."""
    inputs, labels = data()
    record = {"batch_size": BATCH, "steps": STEPS, "learning_rate": RATE, "initial": seeded(make)}
    return task_of(make(), inputs, labels, **(record | more))


def plain_loop(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rates: list[float],
    seed: int,
    labels: list[int] | None = None,
) -> nn.Module:
    """The training that torch's documentation shows."""
    inputs, own = data()
    targets = torch.tensor(own if labels is None else labels)
    model.train()
    for rate, rows in zip(rates, shuffled_batches(SIZE, BATCH, seed), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        cross_entropy(model(inputs[rows]), targets[rows]).backward()
        optimizer.step()
    return model.eval()


def assert_same(model: nn.Module, expected: nn.Module, atol: float = 1e-6) -> None:
    for (name, tensor), other in zip(model.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(
            tensor, other, atol=atol, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize(
    ("record", "optimizer"),
    [
        (
            {"momentum": 0.9, "weight_decay": 0.01},
            lambda p: torch.optim.SGD(p, momentum=0.9, weight_decay=0.01),
        ),
        (
            {"optimizer": "adam", "betas": (0.8, 0.9), "weight_decay": 0.1},
            lambda p: torch.optim.Adam(p, betas=(0.8, 0.9), weight_decay=0.1),
        ),
        (
            {"optimizer": "adamw", "weight_decay": 0.1, "epsilon": 1e-4},
            lambda p: torch.optim.AdamW(p, weight_decay=0.1, eps=1e-4),
        ),
    ],
)
def test_each_optimizer_is_torchs_own(record: dict[str, Any], optimizer: Callable[..., Any]) -> None:
    task = tiny_task(**record)
    model = network()
    model.load_state_dict(seeded(network)(3))
    expected = plain_loop(model, optimizer(model.parameters()), [RATE] * STEPS, 3)
    found = retrain(task, TrainingRecipe.of(task), 3)
    assert_same(found, expected)
    assert not found.training
    assert isinstance(found[1], nn.BatchNorm1d) and found[1].num_batches_tracked == STEPS  # type: ignore[index]


def test_the_sample_is_trained_again_bit_for_bit(prepared_digits: Project) -> None:
    task = load_task(prepared_digits)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = retrain(task, TrainingRecipe.of(task), 0)
    finally:
        torch.set_num_threads(threads)
    assert_same(found, task.model, atol=1e-4)


def test_a_weight_of_two_is_a_copy_in_the_data_and_of_zero_none() -> None:
    """Full batches: the gradient of the edited data is that of N weighted examples, but for the division by N."""
    inputs, labels = data()

    def trained(rows: list[int], rate: float, changes: DataChanges = NO_CHANGES) -> nn.Module:
        make = lambda: nn.Linear(4, 3)  # noqa: E731
        task = task_of(
            make(),
            inputs[rows],
            [labels[row] for row in rows],
            batch_size=100,
            steps=STEPS,
            learning_rate=rate,
            initial=seeded(make),
        )
        return retrain(task, TrainingRecipe.of(task), 0, changes)

    every = list(range(SIZE))
    doubled = trained(every, RATE, DataChanges({4: 2.0, 7: 2.0}))
    assert_same(doubled, trained([*every, 4, 7], RATE * (SIZE + 2) / SIZE), atol=1e-5)
    without = trained(every, RATE, DataChanges({4: 0.0, 7: 0.0}))
    assert_same(
        without, trained([row for row in every if row not in (4, 7)], RATE * (SIZE - 2) / SIZE), atol=1e-5
    )


def test_a_new_label_is_trained_on_in_its_place() -> None:
    task = tiny_task()
    inputs, labels = data()
    del inputs
    other = [(label + 1) % 3 if position in (2, 11) else label for position, label in enumerate(labels)]
    model = network()
    model.load_state_dict(seeded(network)(1))
    expected = plain_loop(model, torch.optim.SGD(model.parameters()), [RATE] * STEPS, 1, other)
    found = retrain(task, TrainingRecipe.of(task), 1, DataChanges(labels={2: other[2], 11: other[11]}))
    assert_same(found, expected)


def test_frozen_parameters_keep_their_values_whatever_the_start_says() -> None:
    task = tiny_task()
    first = task.model[0]  # type: ignore[index]
    first.requires_grad_(False)
    found = retrain(task, TrainingRecipe.of(task), 0)
    assert torch.equal(found[0].weight, first.weight)  # type: ignore[index]
    assert not torch.equal(found[3].weight, task.model[3].weight)  # type: ignore[index]


def test_dropout_is_that_of_the_seed_and_the_callers_random_numbers_are_left_alone() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))

    task = tiny_task(make)
    recipe = TrainingRecipe.of(task)
    first = retrain(task, recipe, 0)
    torch.manual_seed(99)
    expected = torch.rand(3, generator=torch.Generator().manual_seed(99))
    reports = []

    def disturbing(fraction: float, message: str) -> None:
        reports.append(fraction)
        torch.rand(7)  # somebody else draws random numbers meanwhile

    again = retrain(task, recipe, 0, reporter=Reporter(disturbing))
    assert reports
    assert torch.equal(torch.rand(3), expected)
    assert_same(again, first, atol=0)
    other = retrain(task, recipe, 1)
    assert not torch.equal(other[0].weight, first[0].weight)  # type: ignore[index]


def test_turnover_dropout_masks_each_example_by_its_id() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), TurnoverDropout(8), nn.Linear(8, 3))

    ids = [f"e{number}" for number in range(SIZE)]
    task = tiny_task(make, train_ids=ids)
    inputs, labels = data()
    model = make()
    model.load_state_dict(seeded(make)(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for rows in islice(shuffled_batches(SIZE, BATCH, 0), STEPS):
        optimizer.zero_grad()
        with masked(model, [ids[row] for row in rows]):
            cross_entropy(model(inputs[rows]), torch.tensor(labels)[rows]).backward()
        optimizer.step()
    assert_same(retrain(task, TrainingRecipe.of(task), 0), model)


def test_without_initial_weights_it_goes_on_from_the_earliest_checkpoint() -> None:
    start = seeded(network)(8)
    checkpoints = [Checkpoint(start, RATE, 4), Checkpoint(seeded(network)(9), RATE / 2, 10)]
    task = tiny_task(initial=None, checkpoints=checkpoints)
    recipe = TrainingRecipe.of(task)
    assert (recipe.from_step, recipe.steps, len(recipe.rates)) == (4, STEPS, STEPS - 4)
    model = network()
    model.load_state_dict(start)
    expected = plain_loop(model, torch.optim.SGD(model.parameters()), recipe.rates.tolist(), 2)
    assert_same(retrain(task, recipe, 2), expected)


def test_learning_rates_are_linear_between_what_is_known() -> None:
    task = tiny_task(checkpoints=[Checkpoint({}, 0.03, 5), Checkpoint({}, 0.01, 9)])
    expected = [0.05, 0.045, 0.04, 0.035, 0.03, 0.025, 0.02, 0.015, 0.01, 0.01, 0.01, 0.01]
    np.testing.assert_allclose(rates_of_steps(task, 1, STEPS), expected)
    logged = replace(task, learning_rates={1: 0.0, 3: 0.2})
    found = rates_of_steps(logged, 1, 4)
    assert found is not None
    np.testing.assert_allclose(found[:3], [0.0, 0.1, 0.2])


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ({"optimizer": "unknown"}, "which optimizer"),
        ({"steps": None}, "how many steps"),
        ({"learning_rate": None}, "the learning rate"),
        ({"initial": None}, "what training started from"),
        ({"initial": None, "checkpoints": [Checkpoint({}, 0.1, STEPS)]}, "what training started from"),
    ],
)
def test_a_poor_record_says_what_to_add(lacking: dict[str, Any], words: str) -> None:
    with pytest.raises(MissingRequirementError, match=f"{words}.*: give .*="):
        TrainingRecipe.of(tiny_task(**lacking))


def test_initial_weights_that_do_not_fit_are_refused() -> None:
    def broken(seed: int) -> Mapping[str, Tensor]:
        raise ValueError(f"no weights for {seed}")

    partial = lambda seed: {"0.weight": torch.zeros(8, 4)}  # noqa: E731
    for initial, words in ((broken, "no weights for 0"), (partial, "lack the trained parameter")):
        task = tiny_task(initial=initial)
        with pytest.raises(ProjectError, match=words):
            retrain(task, TrainingRecipe.of(task), 0)


def test_divergence_and_cancelling_end_it_and_leave_the_task_alone() -> None:
    task = tiny_task(lambda: nn.Linear(4, 3), learning_rate=1e30, weight_decay=1.0)
    before = copy.deepcopy(task.model.state_dict())
    with pytest.raises(NumericalError, match="diverged"):
        retrain(task, TrainingRecipe.of(task), 0)
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        retrain(task, TrainingRecipe.of(task), 0, reporter=Reporter(cancel=token))
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.model.state_dict().items())


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_stored_states_of_frozen_layers_are_replayed_unless_they_draw(dropout: float) -> None:
    """Replayed, the frozen layers cost nothing and change nothing; with dropout they have to run."""

    def make() -> nn.Module:
        model = small_bert()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
        for parameter in [*model.bert.embeddings.parameters(), *model.bert.encoder.layer[0].parameters()]:
            parameter.requires_grad_(False)
        return model

    items, classes = texts(24), labels(24)
    record = {"batch_size": 8, "steps": 4, "learning_rate": 0.1}
    task = task_of(make().eval(), items, classes, initial=seeded(make), **record)
    build_in_memory(task, task.model, "train", device="cpu", batch_size=8, reporter=Reporter())
    assert task.frozen is not None
    plain = replace(task)
    assert plain.frozen is None
    recipe = TrainingRecipe.of(task)
    assert_same(retrain(task, recipe, 0), retrain(plain, recipe, 0), atol=1e-5)


def test_texts_come_in_batches_of_similar_length_and_each_once() -> None:
    from attribution.retraining import batch_order

    items = texts(30)
    task = task_of(nn.Linear(2, 3), items, [0] * 30)
    assert isinstance(task.train, Pairs)
    seen = torch.cat(list(islice(batch_order(task, np.arange(30), 4, 0), 8)))
    assert sorted(seen.tolist()) == list(range(30))
