"""What a model looked at: parts of inputs against closed forms, sums by hand and what the model cannot see."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attribution import Engine, Saliency, Task
from attribution.batches import batch_of
from attribution.errors import MissingRequirementError, NotFoundError
from attribution.saliency.attributor import frozen_view
from attribution.saliency.integration import STEPS, TOLERANCE, integrated_gradients
from tests.unit.built_projects import engine_of
from tests.unit.test_frozen import LAST_TWO, partly_trained
from tests.unit.tiny_models import Pairs, settled, texts

VOCABULARY = 11
BLANK = 0
"""The padding of `Bag`: what stands for no word."""


class Bag(nn.Module):
    """Logits that are linear in the embeddings of the words."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 6, padding_idx=BLANK)
        nn.init.normal_(self.embedding.weight[BLANK])
        self.head = nn.Linear(6, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head((self.embedding(input_ids) * attention_mask[..., None]).sum(dim=1))


class OneToken(Bag):
    """Sees nothing of a text but its second token, and that bent."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embedding(input_ids))[:, 1])


class OneBlock(nn.Module):
    """Sees nothing of a picture (2, 8, 8) but the rows 2 to 4 of the columns 5 to 7."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(2 * 3 * 3, 8), nn.Linear(8, 3)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(torch.tanh(self.inner(pictures[:, :, 2:5, 5:8].flatten(1))))


def spans_of(text: str) -> list[tuple[int, int]]:
    """The tokens of texts whose words are numbers of tokens."""
    return [match.span() for match in re.finditer(r"\S+", text)]


def text_task(model: nn.Module) -> Task:
    inputs = texts(30)
    words = [" ".join(f"w{number}" for number in one["input_ids"].tolist()) for one in inputs]
    labels = torch.randint(3, (30,), generator=torch.Generator().manual_seed(5)).tolist()
    data = Pairs(inputs, labels)
    return Task(
        model,
        data,
        data,
        ["a", "b", "c"],
        learning_rate=0.1,
        train_display=words,
        test_display=words,
        token_spans=spans_of,
    )


def picture_task(model: nn.Module) -> Task:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(30, 2, 8, 8, generator=generator)
    data = Pairs(pictures, torch.randint(3, (30,), generator=generator).tolist())
    return Task(
        model,
        data,
        data,
        ["a", "b", "c"],
        learning_rate=0.1,
        display=lambda one: one[0].mul(50).add(128).numpy(),
    )


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    torch.manual_seed(0)
    model = Bag()
    return engine_of(tmp_path_factory.mktemp("bag") / "project", lambda: text_task(model))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    torch.manual_seed(0)
    model = OneBlock()
    return engine_of(tmp_path_factory.mktemp("pictures") / "project", lambda: picture_task(model))


def wrong(engine: Engine) -> str:
    return str(engine.project.mispredictions()[0]["id"])


def logits(engine: Engine, split: str, example_id: str) -> Tensor:
    position = engine.project.position(split, example_id)
    with torch.no_grad():
        return engine.task.logits(engine.task.model, batch_of(engine.task, split, [position]).inputs)[0]


def classes_of(engine: Engine, example_id: str) -> tuple[int, int]:
    row = engine.project.predictions("test").loc[example_id]
    return int(row["label"]), int(row["predicted"])


def adds_up(found: Saliency) -> None:
    difference = found.value - found.neutral_value
    assert found.parts.sum() == pytest.approx(difference, abs=TOLERANCE * np.abs(found.parts).sum() + 1e-6)
    size = max(float(np.abs(found.parts).sum()), 1e-9)
    assert found.error == pytest.approx((difference - found.parts.sum()) / size, abs=1e-5)


def test_words_of_a_linear_model_have_their_closed_form(bag: Engine) -> None:
    """Of a bag of words, a word's part of the margin is (its vector - the blank one) · (w_predicted - w_true)."""
    for example in bag.project.mispredictions()[:3]:
        found = bag.saliency(example["id"])
        true, predicted = classes_of(bag, example["id"])
        model = bag.task.model
        vectors, head = model.get_parameter("embedding.weight"), model.get_parameter("head.weight")
        ids = bag.task.test[bag.project.position("test", example["id"])][0]["input_ids"]
        expected = (vectors[ids] - vectors[BLANK]) @ (head[predicted] - head[true])
        assert found.kind == "words" and found.steps == STEPS[0]
        np.testing.assert_allclose(found.parts, expected.detach().numpy(), rtol=1e-4, atol=1e-5)
        shown = example["input"]
        assert [shown[start:end] for start, end in found.spans] == shown.split()
        adds_up(found)


def test_the_sign_is_that_of_the_measurement(bag: Engine) -> None:
    example = wrong(bag)
    true, predicted = classes_of(bag, example)
    names = bag.task.class_names
    margin = bag.saliency(example)
    towards, back = (
        bag.saliency(example, measurement=f"logit:{names[number]}") for number in (predicted, true)
    )
    np.testing.assert_allclose(margin.parts, towards.parts - back.parts, rtol=1e-3, atol=1e-4)
    assert margin.value == pytest.approx(
        float(logits(bag, "test", example)[predicted] - logits(bag, "test", example)[true])
    )
    assert margin.value > 0, "of a misprediction, up is towards the wrong class"
    loss = bag.saliency(example, measurement="loss")
    assert loss.value == pytest.approx(bag.project.example("test", example)["loss"], abs=1e-5)
    adds_up(loss)


def test_a_training_example_is_measured_for_a_test_example(bag: Engine) -> None:
    example, train_id = wrong(bag), "3"
    true, predicted = classes_of(bag, example)
    found = bag.saliency(train_id, split="train", measured_for=example)
    of_train = logits(bag, "train", train_id)
    assert found.value == pytest.approx(float(of_train[predicted] - of_train[true]), abs=1e-5)
    assert (found.split, found.example_id) == ("train", train_id)
    adds_up(found)


def test_a_token_that_alone_is_seen_has_all(tmp_path: Path) -> None:
    model = OneToken()
    engine = engine_of(tmp_path / "project", lambda: text_task(model))
    found = engine.saliency(wrong(engine))
    assert abs(found.parts[1]) > 0.01
    np.testing.assert_allclose(np.delete(found.parts, 1), 0.0, atol=1e-7)
    adds_up(found)


def test_pixels_that_alone_are_seen_have_all(pictures: Engine) -> None:
    found = pictures.saliency(wrong(pictures))
    assert found.kind == "pixels" and found.parts.shape == (8, 8) and found.picture == (8, 8)
    seen = np.zeros((8, 8), dtype=bool)
    seen[2:5, 5:8] = True
    assert np.abs(found.parts[seen]).max() > 0.01
    np.testing.assert_allclose(found.parts[~seen], 0.0, atol=1e-7)
    adds_up(found)
    assert np.abs(found.strengths).max() == pytest.approx(1.0)


def test_numbers_are_compared_with_the_average_training_example(engine: Engine, misprediction: str) -> None:
    found = engine.saliency(misprediction)
    inputs = engine.task.train.inputs  # type: ignore[attr-defined]
    true, predicted = classes_of(engine, misprediction)
    with torch.no_grad():
        neutral = engine.task.model.eval()(inputs.mean(dim=0, keepdim=True))[0]
    assert found.kind == "numbers"
    assert found.neutral_value == pytest.approx(float(neutral[predicted] - neutral[true]), abs=1e-4)
    example = engine.task.test[engine.project.position("test", misprediction)][0]
    assert found.numbers is not None
    np.testing.assert_allclose(found.numbers, example.numpy(), rtol=1e-6)
    adds_up(found)


def test_the_same_question_has_the_same_answer(pictures: Engine) -> None:
    example = wrong(pictures)
    np.testing.assert_array_equal(pictures.saliency(example).parts, pictures.saliency(example).parts)


def test_the_integral_is_that_of_a_sum_by_hand() -> None:
    torch.manual_seed(0)
    model = settled(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)))
    example, neutral = torch.randn(1, 4), torch.randn(1, 4)
    total, count = torch.zeros(4), 2000
    for step in range(count):  # midpoints
        point = (neutral + (step + 0.5) / count * (example - neutral)).requires_grad_()
        total += torch.autograd.grad(model(point).sum(), point)[0][0] / count
    expected = total * (example - neutral)[0]
    found = integrated_gradients(lambda points: model(points)[:, 0], example, neutral, lambda parts: parts[0])
    np.testing.assert_allclose(found.parts, expected.detach(), atol=2e-3 * float(expected.abs().max()))


def test_a_bent_function_gets_more_steps() -> None:
    """A step at 0.9 of the way, which a few points of the path miss."""

    def value(points: Tensor) -> Tensor:
        return torch.sigmoid(400 * (points[:, 0] - 0.9)) + points[:, 1]

    ends = torch.ones(1, 2), torch.zeros(1, 2)
    found = integrated_gradients(value, *ends, reduce=lambda parts: parts[0])
    assert found.steps > STEPS[0]
    assert abs(found.error) == pytest.approx(
        abs(2.0 - float(found.parts.sum())) / float(found.parts.abs().sum()), abs=1e-4
    )


def test_frozen_layers_are_gone_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored states of frozen layers have no words in front of them; the answer is that of a project without."""

    def task() -> Task:
        built = partly_trained(LAST_TWO)
        words = [" ".join(f"w{n}" for n in one["input_ids"].tolist()) for one in built.test.inputs]  # type: ignore[attr-defined]
        built.train_display = built.test_display = words
        built.token_spans = spans_of
        return built

    skipping = engine_of(tmp_path / "skipping", task)
    monkeypatch.setattr("attribution.frozen.LARGEST", 0)
    plain = engine_of(tmp_path / "plain", task)
    assert skipping.task.frozen is not None and plain.task.frozen is None
    example = wrong(plain)
    skipping.explain(example)
    mine, expected = skipping.saliency(example), plain.saliency(example)
    assert np.abs(expected.parts).max() > 1e-6
    np.testing.assert_allclose(mine.parts, expected.parts, atol=1e-6)
    adds_up(mine)


def test_a_fixed_model_is_asked_itself(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Bag()
    engine = engine_of(tmp_path / "project", lambda: text_task(model))
    example = wrong(engine)
    fix = engine.fix(example, top=5, controls=False)
    engine.project.history.save(fix)
    before, after = engine.saliency(example), engine.saliency(example, base=fix.fix_id, measurement="loss")
    assert after.value == pytest.approx(float(engine.predictions(fix.fix_id).loc[example, "loss"]), abs=1e-5)
    adds_up(after)
    np.testing.assert_array_equal(engine.saliency(example).parts, before.parts)


def test_weights_are_shared_and_left_alone() -> None:
    model = Bag()
    view = frozen_view(model)
    for name, parameter in model.named_parameters():
        assert view.get_parameter(name).data_ptr() == parameter.data_ptr()
        assert parameter.requires_grad and not view.get_parameter(name).requires_grad


def test_what_cannot_be_shown_is_said(bag: Engine, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="There is no test example 'none'"):
        bag.saliency("none")
    model = Bag()

    def unknown() -> Task:
        task = text_task(model)
        task.token_spans = None
        return task

    engine = engine_of(tmp_path / "unknown", unknown)
    with pytest.raises(MissingRequirementError, match="token_spans"):
        engine.saliency("0")
    engine.task.token_spans = lambda text: [(0, 1)] * 99
    with pytest.raises(MissingRequirementError, match="99 spans"):
        engine.saliency("0")
    cube = nn.Sequential(nn.Flatten(), nn.Linear(8 * 9 * 7, 3))
    data = Pairs(torch.randn(6, 8, 9, 7), [0, 1, 2, 0, 1, 2])
    engine = engine_of(tmp_path / "cube", lambda: Task(cube, data, data, ["a", "b", "c"], learning_rate=0.1))
    with pytest.raises(MissingRequirementError, match="8 × 9 × 7"):
        engine.saliency("0")
