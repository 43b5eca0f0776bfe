"""Leaving out what no logit reads changes nothing but the time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from attribution import Task
from attribution.batches import batch_of, unpadded
from attribution.capture import GradientCapture
from attribution.first_position import FirstPosition, first_position
from attribution.fixing.objective import mean_loss
from attribution.trajectory import Trajectory
from tests.unit.built_projects import engine_of
from tests.unit.tiny_models import TextModel, labels, settled, small_bert, task_of, texts

LAST = "bert.encoder.layer.1."
SHORTENED = {
    LAST + name
    for name in ("attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense")
}


def bert_task() -> Task:
    torch.manual_seed(0)
    return task_of(settled(small_bert()), texts(40), labels(40))


def sequences(model: nn.Module, *, shift: float = 0.0) -> Task:
    """Pictures of 6 × 4 pixels, whose rows are positions; ``shift`` is added to all but the first one."""
    inputs = torch.randn(12, 1, 6, 4, generator=torch.Generator().manual_seed(0))
    inputs[:, :, 1:] += shift
    return task_of(Rows(model).eval(), list(inputs), labels(12))


class Rows(nn.Module):
    """A model of sequences, given pictures of one channel."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs[:, 0])


class Reading(nn.Module):
    """Two linear layers for each position, of which the logits read some."""

    def __init__(self, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer, self.head = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.read = read

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.read(self.outer(torch.tanh(self.inner(inputs)))))


def test_of_a_berts_last_layer_only_keys_and_values_are_needed_everywhere() -> None:
    task = bert_task()
    found = first_position(task, task.model)
    assert set(found.names) == SHORTENED
    assert not any("forward" in vars(module) for module in task.model.modules())


def test_logits_and_gradients_of_every_example_are_the_same() -> None:
    task = bert_task()
    batch = batch_of(task, "train", range(40))

    def both() -> tuple[Tensor, dict[str, Tensor]]:
        found = GradientCapture(task, task.model).gradients(batch.inputs, batch.labels, task.loss)
        return found.logits, found.dense()

    expected, gradients = both()
    task.first_position = first_position(task, task.model)
    logits, shorter = both()
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(shorter[name], gradient, rtol=1e-4, atol=1e-6)


def test_a_trajectory_finds_it_out_for_its_task_once(monkeypatch: pytest.MonkeyPatch) -> None:
    task = bert_task()
    Trajectory(task)
    known = task.first_position
    assert known is not None and set(known.names) == SHORTENED
    Trajectory(task)
    assert task.first_position is known
    assert set(first_position(task, task.model).names) == SHORTENED, "asked again, it finds the same"
    assert not any("forward" in vars(module) for module in task.model.modules())


def test_in_training_every_position_is_there() -> None:
    """BatchNorm over positions takes its statistics from all of them."""

    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.inner, self.norm, self.head = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.head(self.norm(self.inner(inputs).transpose(1, 2))[:, :, 0])

    task = sequences(Normalised())
    inputs = batch_of(task, "train", range(12)).inputs
    expected = task.logits(task.model.train(), inputs)
    task.first_position = first_position(task, task.model.eval())
    assert task.first_position.names == ("inner.inner",)
    torch.testing.assert_close(task.logits(task.model.train(), inputs), expected, rtol=0, atol=0)


def test_a_text_model_is_verified_as_ever(tmp_path: Path) -> None:
    """Verifying makes a second trajectory of the same task, and trains the model again."""

    def build() -> Task:
        task = bert_task()
        state = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
        record = {"batch_size": 8, "steps": 4, "learning_rate": 0.01, "initial": lambda seed: state}
        return task_of(task.model, texts(40), labels(40), **record)

    engine = engine_of(tmp_path / "project", build)
    assert engine.task.first_position is not None and engine.task.first_position.names
    wrong = engine.project.mispredictions()[0]["id"]
    fix = engine.fix(wrong, top=2)
    engine.project.history.save(fix)
    assert engine.verify(fix.fix_id, seeds=1).trained == 2


def test_layers_of_which_the_first_position_alone_is_read_are_found() -> None:
    task = sequences(Reading(lambda hidden: hidden[:, 0]))
    found = first_position(task, task.model)
    assert found.names == ("inner.inner", "inner.outer")


@pytest.mark.parametrize(
    "read",
    [
        lambda hidden: hidden[:, -1],
        lambda hidden: hidden.mean(dim=1),
        lambda hidden: hidden[:, 0] + 1e-3 * hidden[:, 3],
        lambda hidden: hidden[:, 0] + hidden[:, 1:].detach().mean(dim=1),
    ],
    ids=["last", "mean", "a little of another", "without gradient"],
)
def test_what_reads_more_is_left_as_it_is(read: Callable[[Tensor], Tensor]) -> None:
    task = sequences(Reading(read))
    assert not first_position(task, task.model).names


def test_positions_that_happen_to_be_silent_are_not_taken_for_unread() -> None:
    """Their gradients are zero on every example at hand, behind a rectifier that other inputs would open."""

    class Rectified(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.inner, self.head = nn.Linear(4, 5), nn.Linear(5, 3)
            nn.init.constant_(self.inner.weight, 1.0)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.head(torch.relu(self.inner(inputs)).sum(dim=1))

    task = sequences(Rectified(), shift=-50.0)
    logits = task.logits(task.model, batch_of(task, "train", range(12)).inputs)
    assert bool((logits[:1] != logits).any()), "the first positions are heard"
    assert not first_position(task, task.model).names


def test_a_shared_layer_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    task = task_of(TextModel().eval(), texts(40), labels(40))
    assert not first_position(task, task.model).names


def test_all_positions_are_kept_where_the_representation_has_them() -> None:
    task = sequences(Reading(lambda hidden: hidden[:, 0]))
    task.representation = "inner.outer"
    assert not first_position(task, task.model).names
    task.representation = "inner.head"
    assert first_position(task, task.model).names


@pytest.mark.parametrize("named", [True, False], ids=["by keyword", "with more"])
def test_a_layer_that_is_called_in_another_form_is_left_as_it_is(named: bool) -> None:
    class Otherwise(Reading):
        def forward(self, inputs: Tensor) -> Tensor:
            inner = self.inner(input=inputs) if named else self.inner(inputs)
            first, second = self.outer(torch.tanh(inner)), None if named else self.outer(torch.tanh(inner))
            return self.head(first[:, 0] if second is None else (first + second)[:, 0])

    task = sequences(Otherwise(lambda hidden: hidden))
    found = first_position(task, task.model).names
    assert found == (("inner.outer",) if named else ("inner.inner",))
    task.first_position = FirstPosition(["inner.inner", "inner.outer"])
    inputs = batch_of(task, "train", [0, 1]).inputs
    torch.testing.assert_close(task.logits(task.model, inputs), task.model(inputs))


def test_a_model_that_refuses_nan_keeps_all_its_positions() -> None:
    def strict(hidden: Tensor) -> Tensor:
        if not bool(torch.isfinite(hidden).all()):
            raise ValueError("not finite")
        return hidden[:, 0]

    task = sequences(Reading(strict))
    assert not first_position(task, task.model).names


def test_a_model_without_trained_parameters_is_not_tried() -> None:
    task = sequences(nn.Flatten())
    assert not first_position(task, task.model).names


def test_sequences_of_numbers_are_left_alone() -> None:
    """What a model reads of them may depend on how much of each is padding."""
    inputs = torch.randn(12, 6, 4, generator=torch.Generator().manual_seed(0))
    task = task_of(Reading(lambda hidden: hidden[:, 0]).eval(), list(inputs), labels(12))
    assert not first_position(task, task.model).names


def test_the_longest_texts_are_tried_wherever_they_stand() -> None:
    """The first texts have one word each: on them alone the mean over words would pass for the first one."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embedding, self.inner, self.head = nn.Embedding(11, 6), nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            hidden = self.inner(self.embedding(input_ids))
            kept = hidden.masked_fill(~attention_mask.unsqueeze(-1).bool(), 0.0)
            return self.head(kept.sum(dim=1) / attention_mask.sum(dim=1, keepdim=True))

    ids = torch.ones(8, dtype=torch.long)
    inputs = [
        {"input_ids": ids, "attention_mask": (torch.arange(8) < (1 if row < 30 else 5)).long()}
        for row in range(40)
    ]
    task = task_of(Masked().eval(), inputs, labels(40))
    assert not first_position(task, task.model).names
    of_one_word = task_of(Masked().eval(), inputs[:30], labels(30))
    assert not first_position(of_one_word, of_one_word.model).names


def test_one_position_and_other_shapes_go_through_as_ever() -> None:
    layer = nn.Sequential(nn.Linear(4, 2))
    alone = FirstPosition(["0"])
    for shape in ((3, 1, 4), (3, 4), (2, 3, 5, 4)):
        inputs = torch.randn(shape)
        expected = layer(inputs)
        with alone.alone(layer):
            torch.testing.assert_close(layer(inputs), expected, rtol=0, atol=0)


def test_texts_of_one_step_come_in_batches_of_about_one_length() -> None:
    task = bert_task()
    chosen = list(range(39, 2, -1))
    found = unpadded(task, "train", chosen, torch.device("cpu"))
    assert sorted(p for batch in found for p in batch.positions.tolist()) == sorted(chosen) and len(found) > 1
    widths = [batch.inputs["input_ids"].shape[1] for batch in found]
    assert widths == sorted(widths) and widths[0] < widths[-1]
    together = mean_loss(task, task.model, [batch_of(task, "train", chosen)], task.loss)
    torch.testing.assert_close(mean_loss(task, task.model, found, task.loss), together)


def test_pictures_of_one_step_stay_in_one_batch_and_in_order() -> None:
    task = sequences(Reading(lambda hidden: hidden.mean(dim=1)))
    (batch,) = unpadded(task, "train", [11, 3, 7, 1, 0, 2, 4, 5, 6, 8], torch.device("cpu"))
    assert batch.positions.tolist() == [11, 3, 7, 1, 0, 2, 4, 5, 6, 8]
