"""Several trained models behind one explanation, against the models explained one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attribution import Checkpoint, Engine, Task, TrainedModel
from attribution.errors import MissingRequirementError, ProjectError, UsageError
from attribution.methods import ProjectFacts
from attribution.methods.ekfac import EkfacInfluence
from tests.unit.built_projects import engine_of
from tests.unit.test_frozen import LAST_TWO, partly_trained
from tests.unit.tiny_models import mlp, trained_mlp

SEEDS = (0, 1, 2)


def three_models() -> Task:
    """A task with the models of two further seeds."""
    first, *others = (trained_mlp(seed) for seed in SEEDS)
    return replace(
        first, ensemble=[TrainedModel(task.model.state_dict(), task.checkpoints) for task in others]
    )


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return engine_of(tmp_path_factory.mktemp("ensemble") / "project", three_models)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> list[Engine]:
    """Each of the models as a project of its own."""
    folder = tmp_path_factory.mktemp("single")
    return [engine_of(folder / str(seed), lambda seed=seed: trained_mlp(seed)) for seed in SEEDS]


@pytest.mark.parametrize(
    "method", ["ekfac", "path", "tracin", "source", "grad_cos", "representation", "loss"]
)
def test_the_score_is_the_mean_over_the_models(engine: Engine, single: list[Engine], method: str) -> None:
    measurement = "logit:b"  # a margin would name each model's own prediction
    found = engine.explain("1", method=method, measurement=measurement, ensemble=True)
    expected = [other.explain("1", method=method, measurement=measurement).scores for other in single]
    assert np.allclose(found.scores, np.mean(expected, axis=0), rtol=1e-4, atol=1e-7)
    alone = engine.explain("1", method=method, measurement=measurement).scores
    assert np.allclose(alone, expected[0], rtol=1e-4, atol=1e-7)
    assert np.array_equal(
        engine.scores(["1"], method=method, measurement=measurement, ensemble=True)[0], found.scores
    )


def test_trak_averages_its_two_factors_each_on_its_own(engine: Engine, single: list[Engine]) -> None:
    measurement = "logit:b"
    found = engine.scores(["1"], method="trak", measurement=measurement, ensemble=True)[0]
    scores, residuals = [], []
    for other in single:
        scores.append(other.scores(["1"], method="trak", measurement=measurement)[0].astype(np.float64))
        predictions = other.project.predictions("train")
        chances = predictions[["p_0", "p_1", "p_2"]].to_numpy()
        residuals.append(1 - chances[np.arange(len(chances)), predictions["label"]])
    kernels = np.stack(scores) / np.stack(residuals)
    assert np.allclose(found, kernels.mean(axis=0) * np.mean(residuals, axis=0), rtol=1e-3)
    assert not np.allclose(found, np.mean(scores, axis=0), rtol=1e-2)


def test_trust_says_how_far_the_models_agree(engine: Engine) -> None:
    trust = engine.explain("1", method="path", ensemble=True).trust
    assert trust["checkpoint_agreement"] is None and -1 <= trust["model_agreement"] <= 1
    assert trust["sentence"].startswith("The 3 models ")
    alone = engine.explain("1", method="path").trust
    assert alone["model_agreement"] is None and alone["checkpoint_agreement"] is not None


def test_a_second_engine_finds_the_indexes_of_the_ensemble(engine: Engine) -> None:
    engine.explain("1", method="ekfac", ensemble=True)
    folder = engine.project.prepared_directory / "models"
    assert sorted(model.name for model in folder.iterdir()) == ["1", "2"]
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*.safetensors")}
    again = Engine(engine.project, device="cpu").explain("1", method="ekfac", ensemble=True)
    assert np.array_equal(again.scores, engine.explain("1", method="ekfac", ensemble=True).scores)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*.safetensors")} == before


def test_other_weights_get_another_index(tmp_path: Path) -> None:
    models = [trained_mlp(seed) for seed in (0, 1)]

    def task() -> Task:
        return replace(models[0], ensemble=[TrainedModel(models[1].model.state_dict())])

    engine = engine_of(tmp_path / "project", task)
    first = engine.explain("1", method="grad_dot", ensemble=True).scores
    models[1] = trained_mlp(2)
    second = Engine(engine.project, device="cpu").explain("1", method="grad_dot", ensemble=True).scores
    assert not np.allclose(first, second)


def test_one_model_is_no_ensemble(single: list[Engine]) -> None:
    with pytest.raises(
        MissingRequirementError, match="one trained model, so there is nothing to average over"
    ):
        single[0].explain("1", ensemble=True)


def test_a_model_without_checkpoints_is_named(tmp_path: Path) -> None:
    state = trained_mlp(1).model.state_dict()
    engine = engine_of(tmp_path / "project", lambda: replace(trained_mlp(), ensemble=[TrainedModel(state)]))
    with pytest.raises(MissingRequirementError, match="'path' cannot run on model 1 of the ensemble"):
        engine.explain("1", method="path", ensemble=True)
    assert np.isfinite(engine.explain("1", method="ekfac", ensemble=True).scores).all()


def test_each_model_needs_its_own_second_moments(tmp_path: Path) -> None:
    def task() -> Task:
        first = replace(trained_mlp(), optimizer="adam")
        moments = {name: torch.ones_like(p) for name, p in first.trained_parameters().items()}
        kept = [replace(checkpoint, second_moments=moments) for checkpoint in first.checkpoints]
        other = TrainedModel(first.model.state_dict(), first.checkpoints)
        return replace(first, checkpoints=kept, ensemble=[other])

    engine = engine_of(tmp_path / "project", task)
    assert np.isfinite(engine.explain("0", method="source").scores).all()
    with pytest.raises(MissingRequirementError, match=r"model 1 of the ensemble\. .*second moments"):
        engine.explain("0", method="source", ensemble=True)


def test_a_model_of_another_architecture_is_refused(tmp_path: Path) -> None:
    state = {f"other.{name}": tensor for name, tensor in mlp().state_dict().items()}
    engine = engine_of(tmp_path / "project", lambda: replace(trained_mlp(), ensemble=[TrainedModel(state)]))
    with pytest.raises(ProjectError, match="model 1 of the ensemble has a parameter 'other"):
        engine.explain("1", method="ekfac", ensemble=True)


def test_facts_count_the_models(engine: Engine, single: list[Engine]) -> None:
    assert [ProjectFacts.of(e.project).models for e in (engine, single[0])] == [3, 1]


def with_run(checkpoints: Sequence[Checkpoint]) -> Task:
    """A task with one further model, whose run had these checkpoints."""
    other = TrainedModel(trained_mlp(1).model.state_dict(), checkpoints)
    return replace(trained_mlp(), ensemble=[other])


@pytest.mark.parametrize("method", ["tracin", "path"])
def test_learning_rates_are_those_of_each_model(tmp_path: Path, method: str) -> None:
    still = [replace(checkpoint, learning_rate=0.0) for checkpoint in trained_mlp(1).checkpoints]
    engine = engine_of(tmp_path / "project", lambda: with_run(still))
    with pytest.raises(MissingRequirementError, match=r"model 1 of the ensemble\. Every checkpoint"):
        engine.explain("1", method=method, ensemble=True)


def test_other_learning_rates_get_another_index(tmp_path: Path) -> None:
    """The damping that follows from them is part of what is stored."""
    factor = 1.0

    def task() -> Task:
        points = trained_mlp(1).checkpoints
        return with_run([replace(c, learning_rate=c.learning_rate * factor) for c in points])

    first = engine_of(tmp_path / "project", task)
    first.explain("1", method="ekfac", ensemble=True)
    factor = 1000.0
    engine = Engine(first.project, device="cpu")
    stored, fresh = (
        engine.scores(["1"], method="ekfac", ensemble=True, use_index=use_index)
        for use_index in (True, False)
    )
    assert np.allclose(stored, fresh, rtol=1e-3, atol=1e-5 * np.abs(fresh).max())


def test_half_precision_is_read(tmp_path: Path) -> None:
    halved = [
        replace(c, state_dict={name: tensor.bfloat16() for name, tensor in c.tensors().items()})
        for c in trained_mlp(1).checkpoints
    ]
    engine = engine_of(tmp_path / "project", lambda: with_run(halved))
    assert np.isfinite(engine.explain("1", method="path", ensemble=True).scores).all()


def test_an_index_made_anew_meanwhile_is_not_mixed_with_the_old(tmp_path: Path) -> None:
    seed = 1

    def task() -> Task:
        return replace(trained_mlp(), ensemble=[TrainedModel(trained_mlp(seed).model.state_dict())])

    old = engine_of(tmp_path / "project", task)
    old.explain("1", method="ekfac", ensemble=True)
    seed = 2
    Engine(old.project, device="cpu").explain("1", method="trak", ensemble=True)
    with pytest.raises(ProjectError, match="made anew from other weights or data meanwhile"):
        old.explain("1", method="trak", ensemble=True)


def test_each_model_is_asked_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    scores = EkfacInfluence.scores
    monkeypatch.setattr(
        EkfacInfluence, "scores", lambda self, query: asked.append(query) or scores(self, query)
    )
    engine.explain("2", method="ekfac", ensemble=True)
    assert len(asked) == len(SEEDS)


def test_stored_states_of_frozen_layers_need_the_same_layers_throughout_the_run(tmp_path: Path) -> None:
    """A further model may end with the same frozen layers, and its checkpoints have others."""

    def task(moved: float) -> Task:
        whole = partly_trained(LAST_TWO)
        points = [
            replace(c, state_dict={n: t + moved for n, t in whole.model.state_dict().items()})
            for c in whole.checkpoints
        ]
        return replace(whole, ensemble=[TrainedModel(whole.model.state_dict(), points)])

    replayed = []
    for moved in (0.0, 0.1):
        engine = engine_of(tmp_path / str(moved), lambda moved=moved: task(moved))
        engine.explain("1", method="grad_dot", ensemble=True)
        replayed.append(engine._ensemble[0].loaded.task.frozen is not None)
    assert replayed == [True, False]


def test_a_further_model_is_a_trained_model() -> None:
    with pytest.raises(UsageError, match="is a TrainedModel"):
        replace(trained_mlp(), ensemble=[mlp().state_dict()])


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"nothing")
    for number, file in enumerate([damaged, tmp_path / "missing.safetensors"]):
        state = trained_mlp(1).model.state_dict()
        for part, other in enumerate([TrainedModel(file), TrainedModel(state, [Checkpoint(file, 0.1, 5)])]):
            task = replace(trained_mlp(), ensemble=[other])
            engine = engine_of(tmp_path / f"{number}-{part}", lambda task=task: task)
            with pytest.raises(ProjectError, match=f"{file.name}' is not a readable safetensors file"):
                engine.explain("1", method="ekfac", ensemble=True)


def test_a_file_where_an_index_belongs_is_named(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", lambda: with_run([]))
    place = engine.project.prepared_directory / "models" / "1"
    place.parent.mkdir()
    place.write_text("in the way")
    with pytest.raises(ProjectError, match="cannot be replaced"):
        engine.explain("1", method="ekfac", ensemble=True)
