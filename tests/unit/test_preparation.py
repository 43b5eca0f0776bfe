"""Preparing: complete or nothing, done once, resumable, and the compressed index near the exact scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from attribution import CancelToken, Engine, Project, Reporter, Task, create_project, prepare
from attribution.errors import Cancelled, ProjectError, UsageError
from attribution.index import IndexPlan
from attribution.projects.manifest import CheckpointRecord
from tests.unit.built_projects import engine_of, project_of
from tests.unit.tiny_models import (
    Pairs,
    TextModel,
    convolutional,
    images,
    labels,
    settled,
    task_of,
    texts,
    trained_mlp,
)


class CancelAt:
    """A progress callback that asks for a stop at the nth report."""

    def __init__(self, count: int) -> None:
        self.token = CancelToken()
        self.left = count

    def __call__(self, fraction: float, message: str) -> None:
        assert 0 <= fraction <= 1
        self.left -= 1
        if self.left == 0:
            self.token.cancel()


@pytest.mark.parametrize("reports", [1, 5, 60, 90, 130])
def test_a_cancelled_preparation_leaves_nothing_half_written_and_goes_on(
    tmp_path: Path, reports: int
) -> None:
    whole = engine_of(tmp_path / "whole", trained_mlp)
    project = project_of(tmp_path / "project", trained_mlp)
    stop = CancelAt(reports)
    try:
        prepare(project, device="cpu", reporter=Reporter(stop, stop.token))
    except Cancelled:
        assert not project.prepared
    assert not list(project.directory.glob("**/*.part"))
    prepare(project, device="cpu")
    assert project.prepared
    wrong = whole.project.mispredictions()[0]["id"]
    scores = [Engine(p, device="cpu").explain(wrong).scores for p in (project, whole.project)]
    assert np.array_equal(*scores)


def test_preparing_is_done_once(tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", trained_mlp)
    prepare(project, device="cpu")
    stamp = (project.prepared_directory / "prepared.json").stat().st_mtime_ns
    calls: list[str] = []
    prepare(project, device="cpu", reporter=Reporter(lambda fraction, message: calls.append(message)))
    assert calls == [] and (project.prepared_directory / "prepared.json").stat().st_mtime_ns == stamp


def test_a_changed_task_file_makes_a_project_unprepared(tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", trained_mlp)
    prepare(project, device="cpu")
    task_file = project.directory / "task.py"
    task_file.write_text(task_file.read_text() + "# changed\n")
    assert not Project.open(project.directory).prepared
    with pytest.raises(ProjectError, match="changed since: run tracefix prepare"):
        Engine(project, device="cpu")


@pytest.mark.parametrize("needed", [False, True])
def test_a_folder_that_is_called_prepared_already_is_not_deleted(tmp_path: Path, needed: bool) -> None:
    project = project_of(tmp_path / "project", trained_mlp)
    mine = project.prepared_directory / "weights.safetensors"
    mine.parent.mkdir()
    save_file(dict(trained_mlp().model.state_dict()), str(mine))
    if needed:
        (mine.parent / "index").mkdir()
        record = CheckpointRecord(path="prepared/weights.safetensors", learning_rate=0.1, step=1)
        create_project(project.directory, project.manifest.model_copy(update={"checkpoints": [record]}))
    with pytest.raises(ProjectError, match="would be replaced: give that folder another name"):
        prepare(Project.open(project.directory), device="cpu")
    assert mine.exists()


def test_a_copied_project_is_still_prepared(tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", trained_mlp)
    prepare(project, device="cpu")
    copied = Project.open(
        shutil.copytree(project.directory, tmp_path / "copy", copy_function=shutil.copyfile)
    )
    assert copied.prepared


@pytest.mark.parametrize(
    "name", ["test_predictions.parquet", "train_examples.parquet", "index/point-0/shard-00000.safetensors"]
)
def test_a_truncated_file_makes_a_project_unprepared(tmp_path: Path, name: str) -> None:
    project = project_of(tmp_path / "project", trained_mlp)
    prepare(project, device="cpu")
    file = project.prepared_directory / name
    file.write_bytes(file.read_bytes()[:-20])
    assert not project.prepared
    prepare(project, device="cpu")
    assert Project.open(project.directory).prepared


def test_predictions_are_the_models(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", trained_mlp)
    for split in ("train", "test"):
        table = engine.project.predictions(split)
        inputs = torch.stack(list(engine.task.dataset(split).inputs))  # type: ignore[attr-defined]
        with torch.no_grad():
            chances = engine.task.model(inputs).double().softmax(dim=1).numpy()
        assert np.allclose(table[["p_0", "p_1", "p_2"]].to_numpy(), chances, atol=1e-6)
        assert np.array_equal(table["predicted"], chances.argmax(axis=1))
        assert np.allclose(table["loss"], -np.log(chances[np.arange(len(table)), table["label"]]), atol=1e-5)
    losses = [wrong["loss"] for wrong in engine.project.mispredictions()]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_a_compressed_index_agrees_with_exact_scores(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> Task:
        torch.manual_seed(0)
        if kind == "image":
            return task_of(settled(convolutional()), images(300), labels(300))
        return task_of(settled(TextModel()), texts(300), labels(300))

    monkeypatch.setattr("attribution.preparation.plan_index", _narrow_plan)
    engine = engine_of(tmp_path / "project", build)
    assert not engine._loaded.index.exact
    wrong = engine.project.mispredictions()[0]["id"]
    exact = engine.explain(wrong, method="grad_dot", use_index=False)
    found = engine.explain(wrong, method="grad_dot")
    assert np.corrcoef(exact.scores, found.scores)[0, 1] > 0.9
    # The strongest are computed again exactly, so the lists agree to the last digit that float32 holds.
    strongest = np.argsort(-np.abs(exact.scores))[:5]
    assert np.allclose(found.scores[strongest], exact.scores[strongest], rtol=1e-4)


def _narrow_plan(shapes: dict[str, tuple[int, ...]], examples: int, points: int) -> IndexPlan:
    """100 numbers an example, whatever would fit, and more than one shard."""
    return IndexPlan(100, "float16", shard_rows=128)


def test_tasks_that_cannot_work_are_refused(tmp_path: Path) -> None:
    def wrong_label() -> Task:
        task = trained_mlp()
        task.train = Pairs([torch.zeros(5)] * 40, [0] * 39 + [7])
        return task

    def wrong_names() -> Task:
        task = trained_mlp()
        task.class_names = ["a", "b"]
        task.train = Pairs([torch.zeros(5)] * 40, [0] * 40)
        task.test = Pairs([torch.zeros(5)] * 12, [0] * 12)
        return task

    with pytest.raises(UsageError, match="'train-39' has the label 7"):
        prepare(project_of(tmp_path / "label", wrong_label), device="cpu")
    with pytest.raises(UsageError, match="3 logits for 2 class names: give one name each"):
        prepare(project_of(tmp_path / "names", wrong_names), device="cpu")
    with pytest.raises(UsageError, match="occurs more than once"):
        data = Pairs([torch.zeros(5)] * 2, [0, 1])
        Task(model=torch.nn.Linear(5, 2), train=data, test=data, class_names=["a", "b"], train_ids=["x", "x"])
    with pytest.raises(UsageError, match="no device 'tpu'"):
        prepare(project_of(tmp_path / "device", trained_mlp), device="tpu")
    with pytest.raises(UsageError, match="no precision 'fp8'"):
        prepare(project_of(tmp_path / "precision", trained_mlp), precision="fp8")


def test_prepared_json_is_finite_json(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", trained_mlp)
    text = (engine.project.prepared_directory / "prepared.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in prepared.json"))
