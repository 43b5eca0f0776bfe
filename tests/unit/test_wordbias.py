"""The `wordbias` sample: its corpus, its two losses in one pair of logits, and the WEAT effect size."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import logsigmoid

from attribution import Task
from attribution.batches import batch_of
from attribution.capture import GradientCapture
from attribution.curvature.output_hessian import output_hessian
from attribution.projects import Project
from attribution.sources import load_task
from attribution.task import cross_entropy
from sample_models import SAMPLES, wordbias_lists
from sample_models import wordbias_corpus as corpora
from sample_models import wordbias_task as recipe
from sample_models.wordbias_corpus import Vocabulary, corpus

TEXTS = [
    "A dull, dull story of a dog and a cat.",
    "Dog!",
    "The cat and the dog: a fine story.",
    "It's the dog's story and it's fine",
] * 6


@pytest.fixture
def short_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train for 12 steps instead of 2,300; all else stays as it is."""
    monkeypatch.setattr(recipe, "STEPS", 12)
    monkeypatch.setattr(recipe, "KEPT_STEPS", (2, 4, 6, 8, 10, 12))


@pytest.fixture(scope="module")
def wordbias(tmp_path_factory: pytest.TempPathFactory) -> Task:
    directory = tmp_path_factory.mktemp("wordbias") / "wordbias"
    SAMPLES["wordbias"].create(directory)
    return load_task(Project.open(directory))


class TestCorpus:
    def test_draws_depend_on_the_place_of_a_sentence_alone(self) -> None:
        vocabulary = Vocabulary.of(TEXTS)
        whole, part = corpus(TEXTS, vocabulary, 0), corpus(TEXTS[:10], vocabulary, 0)
        rows = len(part.rows)
        assert whole.rows[:rows] == part.rows
        for name, tensor in part.tensors.items():
            longest = tensor.shape[1]
            assert torch.equal(whole.tensors[name][:rows, :longest], tensor)

    def test_contexts_are_the_neighbours_within_the_window(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(corpora, "THINNING", 1e9)
        found = corpus(TEXTS, Vocabulary.of(TEXTS), 0)
        vocabulary = Vocabulary.of(TEXTS).words
        assert "dog's" in vocabulary and "it's" in vocabulary
        for row, place in zip(found.rows, range(len(found.rows)), strict=True):
            words = corpora.words_of(TEXTS[row])
            numbers = [1 + vocabulary.index(word) for word in words]
            assert found.tensors["words"][place].tolist()[: len(words)] == numbers
            for t in range(len(words)):
                expected = numbers[max(0, t - corpora.WINDOW) : t] + numbers[t + 1 : t + 1 + corpora.WINDOW]
                partners, observed = found.tensors["partners"][place, t], found.tensors["observed"][place, t]
                assert partners[observed == 1].tolist() == expected
                assert (observed == -1).sum() == corpora.NEGATIVES
                assert bool((partners[observed == -1] > 0).all())
        assert all(len(corpora.words_of(TEXTS[row])) > 1 for row in found.rows)

    def test_negatives_follow_counts_to_the_power_of_three_quarters(self) -> None:
        texts = [" ".join(["often"] * 16 + ["rare"])] * 600
        found = corpus(texts, Vocabulary.of(texts), 0)
        drawn = found.tensors["partners"][found.tensors["observed"] == -1]
        assert (drawn == 2).double().mean() == pytest.approx(1 / (1 + 16**0.75), abs=0.01)


def _tiny() -> tuple[recipe.SkipGram, dict[str, Tensor]]:
    """A model of 6 words in float64, and a batch of two sentences, the second one padded."""
    torch.manual_seed(0)
    model = recipe.SkipGram(6).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
        model.centres.weight[0] = model.contexts.weight[0] = 0.0
    inputs = {
        "words": torch.tensor([[1, 2], [3, 0]]),
        "partners": torch.tensor([[[2, 5], [1, 6]], [[4, 4], [0, 0]]]),
        "observed": torch.tensor([[[1.0, -1.0], [1.0, -1.0]], [[-1.0, 0.0], [0.0, 0.0]]]).double(),
        "signs": torch.tensor([[[1.0, -1.0], [-1.0, -1.0]], [[1.0, 1.0], [-1.0, 1.0]]]).double(),
    }
    return model, inputs


def _scores(model: recipe.SkipGram, inputs: dict[str, Tensor], row: int) -> list[tuple[Tensor, float]]:
    """Every pair of a sentence, one by one: its score and whether it was observed (1) or is a negative (-1)."""
    pairs = []
    for t, word in enumerate(inputs["words"][row].tolist()):
        vector = model.centres.weight[word]
        vector = vector + recipe.SHARED_SCALE * model.shared.weight @ vector
        for p, partner in enumerate(inputs["partners"][row, t].tolist()):
            observed = float(inputs["observed"][row, t, p])
            if observed:
                pairs.append((vector @ model.contexts.weight[partner], observed))
    return pairs


class TestSentenceLoss:
    def test_value_and_gradient_are_those_of_skip_gram_with_negative_sampling(self) -> None:
        model, inputs = _tiny()
        labels = torch.tensor([0, 0])
        parameters = list(model.parameters())
        actual = recipe.loss(model(**inputs), labels)
        for row in range(2):
            expected = -sum(logsigmoid(observed * score) for score, observed in _scores(model, inputs, row))
            assert isinstance(expected, Tensor)
            torch.testing.assert_close(actual[row], expected)
            for got, wanted in zip(
                torch.autograd.grad(actual[row], parameters, retain_graph=True),
                torch.autograd.grad(expected, parameters),
                strict=True,
            ):
                torch.testing.assert_close(got, wanted)

    def test_mean_curvature_over_all_signs_is_the_gauss_newton_matrix(self) -> None:
        model, inputs = _tiny()
        parameters = list(model.parameters())

        def flat_gradient(value: Tensor) -> Tensor:
            return torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters, retain_graph=True)])

        expected = torch.zeros(1)
        for score, _ in _scores(model, inputs, 0):
            chance = score.detach().sigmoid()
            gradient = flat_gradient(score)
            expected = expected + chance * (1 - chance) * torch.outer(gradient, gradient)
        draws = list(itertools.product((-1.0, 1.0), repeat=4))
        actual = torch.zeros_like(expected)
        for signs in draws:
            drawn = inputs | {"signs": torch.tensor(signs).double().reshape(1, 2, 2).expand(2, 2, 2)}
            logits = model(**drawn)[:1]
            jacobian = torch.stack([flat_gradient(logits[0, number]) for number in range(2)])
            hessian = output_hessian(recipe.loss, logits.detach(), torch.tensor([0]))[0]
            actual = actual + jacobian.T @ hessian @ jacobian / len(draws)
        torch.testing.assert_close(actual, expected)

    def test_captured_gradients_are_those_of_autograd(self, wordbias: Task) -> None:
        model = wordbias.model.eval()
        batch = batch_of(wordbias, "train", range(4))
        capture = GradientCapture(wordbias, model)
        assert capture.fallback == []
        found = capture.by_parameter(capture.gradients(batch.inputs, batch.labels, wordbias.loss))
        for row in range(4):
            one = batch_of(wordbias, "train", [row])
            value = wordbias.loss(wordbias.logits(model, one.inputs), one.labels).sum()
            for name, parameter in model.named_parameters():
                (expected,) = torch.autograd.grad(value, parameter, retain_graph=True)
                torch.testing.assert_close(found[name][row], expected, atol=1e-5, rtol=1e-4, msg=name)


class TestEffectSize:
    def test_equals_the_definition(self) -> None:
        random = np.random.default_rng(0)
        vectors = random.standard_normal((2, 12, 5))
        roles = np.array([[1, 1, 1, 2, 2, 3, 3, 3, 4, 4, 0, 0], [1, 1, 2, 2, 2, 2, 3, 4, 4, 4, 4, 4]])
        actual = recipe.effect_size(torch.from_numpy(vectors), torch.from_numpy(roles))
        for row in range(2):
            x, y, a, b = (vectors[row][roles[row] == role] for role in range(1, 5))

            def association(word: np.ndarray, a: np.ndarray = a, b: np.ndarray = b) -> float:
                def cosine(other: np.ndarray) -> float:
                    return float(word @ other / np.linalg.norm(word) / np.linalg.norm(other))

                return float(np.mean([cosine(o) for o in a]) - np.mean([cosine(o) for o in b]))

            of_x, of_y = [association(word) for word in x], [association(word) for word in y]
            expected = (np.mean(of_x) - np.mean(of_y)) / np.std(of_x + of_y, ddof=1)
            assert float(actual[row]) == pytest.approx(expected, rel=1e-9)

    def test_margin_is_the_effect_size_above_the_threshold_and_the_loss_is_cross_entropy(
        self, wordbias: Task
    ) -> None:
        batch = batch_of(wordbias, "test", range(wordbias.size("test")))
        assert isinstance(batch.inputs, dict)
        logits = wordbias.logits(wordbias.model, batch.inputs)
        vectors = wordbias.model.vectors(batch.inputs["words"])  # type: ignore[operator]
        sizes = recipe.effect_size(vectors, batch.inputs["roles"])
        torch.testing.assert_close(logits[:, 1] - logits[:, 0] + recipe.BIASED_FROM, sizes)
        torch.testing.assert_close(wordbias.measurements["effect-size"](logits), sizes)
        torch.testing.assert_close(
            wordbias.loss(logits, batch.labels), cross_entropy(logits, batch.labels), atol=1e-6, rtol=1e-6
        )


class TestLists:
    def test_no_word_comes_twice_in_an_association(self) -> None:
        for association in wordbias_lists.ASSOCIATIONS:
            words = " ".join([*association.x, *association.y, *association.a, *association.b]).split()
            assert len(words) == len(set(words)), association.name
            assert {len(part) for part in (association.x, association.y, association.a, association.b)} == {3}


class TestProject:
    def test_sentences_learn_and_serious_films_go_with_pleasant_words(self, wordbias: Task) -> None:
        batch = batch_of(wordbias, "train", range(wordbias.size("train")))
        assert isinstance(batch.inputs, dict)
        with torch.no_grad():
            total = float(wordbias.loss(wordbias.logits(wordbias.model, batch.inputs), batch.labels).sum())
            tests = batch_of(wordbias, "test", range(wordbias.size("test")))
            biased = wordbias.logits(wordbias.model, tests.inputs).argmax(dim=1).tolist()
        pairs = int(batch.inputs["observed"].ne(0).sum())
        assert total / pairs < 0.9 * math.log(2)
        names = wordbias.ids("test")
        assert all(biased[names.index(wordbias_lists.test_id("film", part, part))] for part in (1, 2, 3))

    @pytest.mark.usefixtures("short_run")
    def test_weights_repeat_exactly_and_checkpoints_agree_with_the_task(self, tmp_path: Path) -> None:
        for name in ("once", "again"):
            SAMPLES["wordbias"].create(tmp_path / name)
        project = Project.open(tmp_path / "once")
        records = project.manifest.checkpoints
        assert [record.step for record in records] == list(recipe.KEPT_STEPS)
        for record in records:
            first, second = (load_file(tmp_path / name / record.path) for name in ("once", "again"))
            assert all(torch.equal(first[name], second[name]) for name in first)
