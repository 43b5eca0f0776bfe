"""The bundled samples: their data, their recipes, and that making one leaves all of it or nothing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from attribution import CancelToken, Reporter
from attribution.errors import Cancelled, ProjectError
from attribution.projects import Project, TaskSource
from sample_models import SAMPLES


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("digits") / "digits"
    SAMPLES["digits"].create(directory)
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
