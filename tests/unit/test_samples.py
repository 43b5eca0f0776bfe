"""The bundled samples: their data, their recipes, and that making one leaves all of it or nothing."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForImageClassification

from attribution import CancelToken, Reporter
from attribution.errors import Cancelled, ProjectError
from attribution.projects import Project, TaskSource
from sample_models import SAMPLES


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

    def test_is_ready_without_loading_torch(self, tmp_path: Path) -> None:
        code = (
            "import sys, pathlib, sample_models\n"
            "sample_models.SAMPLES['fashion'].create(pathlib.Path(sys.argv[1]))\n"
            "assert 'torch' not in sys.modules"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "fashion")]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[2])


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


def _task_file(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("sample_task", project / "task.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
