"""The gradient index: what it keeps, what it loses, and what happens when a disk or a power switch interferes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from attribution import Engine, Project, Task, prepare
from attribution.batches import batch_of
from attribution.capture import GradientCapture
from attribution.curvature import fit_ekfac
from attribution.errors import ProjectError
from attribution.index import IndexPlan, plan_index
from attribution.index.coordinates import Coordinates, choose_coordinates
from sample_models import SAMPLES
from tests.unit.built_projects import engine_of, project_of
from tests.unit.tiny_models import (
    TextModel,
    convolutional,
    images,
    labels,
    mlp,
    settled,
    task_of,
    texts,
    trained_mlp,
)

COUNT = 60


@pytest.mark.parametrize("kind", ["mlp", "image", "text"])
def test_all_coordinates_keep_every_inner_product_and_fewer_keep_most(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    models = {"mlp": mlp(), "image": convolutional(), "text": TextModel()}
    inputs = {"mlp": torch.randn(COUNT, 5), "image": images(COUNT), "text": texts(COUNT)}
    task = task_of(settled(models[kind]), inputs[kind], labels(COUNT))  # type: ignore[arg-type]
    capture = GradientCapture(task, task.model)
    curvature = fit_ekfac(task, capture, batch_size=16, draws=4)
    batch = batch_of(task, "train", range(COUNT))
    gradients = capture.gradients(batch.inputs, batch.labels, task.loss)
    vectors = curvature.inverse({name: block[:5] for name, block in gradients.dense().items()}, 0.01)
    exact = gradients.dot(vectors)
    width = sum(int(np.prod(shape)) for shape in capture.shapes.values())
    correlations = []
    for kept in (width, width // 3):
        choose_coordinates(curvature, 0.01, kept).save(tmp_path / "coordinates.safetensors")
        coordinates = Coordinates.load(tmp_path / "coordinates.safetensors")
        assert coordinates.width == kept
        found = coordinates.rows(gradients) @ coordinates.query(vectors).T
        correlations.append(torch.corrcoef(torch.stack([found.flatten(), exact.flatten()]))[0, 1])
    assert torch.allclose(correlations[0], torch.ones(()), atol=1e-5)
    assert correlations[1] > 0.9


def test_the_plan_keeps_to_its_budget() -> None:
    shapes = {"big": (300, 200), "small": (3, 4), "vector": (10,)}
    assert plan_index(shapes, 100, 1).exact
    narrow = plan_index(shapes, 10_000, 3, budget=100 * 2**20)
    assert not narrow.exact and narrow.size(10_000, 3) <= 100 * 2**20


def test_the_strongest_of_a_compressed_index_are_the_strongest_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """recall@50 after the exact re-rank of 200, on the digits sample with a fifth of its coordinates."""
    monkeypatch.setattr(
        "attribution.preparation.plan_index", lambda shapes, examples, points: IndexPlan(1314, "float16")
    )
    SAMPLES["digits"].create(tmp_path / "digits")
    project = Project.open(tmp_path / "digits")
    prepare(project, device="cpu")
    engine = Engine(Project.open(project.directory), device="cpu")
    found = []
    for wrong in project.mispredictions()[:10]:
        exact = engine.explain(wrong["id"], use_index=False).scores
        listed = engine.explain(wrong["id"]).scores
        best = [set(np.argsort(-np.abs(scores))[:50].tolist()) for scores in (exact, listed)]
        found.append(len(best[0] & best[1]) / 50)
    assert np.mean(found) >= 0.99
    group = [row["id"] for row in project.mispredictions()[:10]]
    exact, listed = engine.explain_group(group, use_index=False), engine.explain_group(group)
    for ours, theirs in ((listed.culprits(20), exact.culprits(20)), (listed.helpers(20), exact.helpers(20))):
        counts = {card["id"]: card["explains"] for card in theirs}
        same = [counts[card["id"]] == card["explains"] for card in ours if card["id"] in counts]
        assert len(same) >= 18 and np.mean(same) >= 0.8


def test_a_flipped_byte_is_noticed_and_named(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", trained_mlp)
    wrong = engine.project.mispredictions()[0]["id"]
    scores = engine.explain(wrong).scores
    shard = engine.project.prepared_directory / "index" / "point-1" / "shard-00000.safetensors"
    content = bytearray(shard.read_bytes())
    generator = random.Random(0)
    for _ in range(5):
        place = generator.randrange(len(content))
        content[place] ^= 1 << generator.randrange(8)
        shard.write_bytes(content)
        with pytest.raises(ProjectError, match=r"shard-00000\.safetensors' is missing or damaged"):
            Engine(engine.project, device="cpu").explain(wrong)
        prepare(engine.project, device="cpu")
        assert np.array_equal(Engine(engine.project, device="cpu").explain(wrong).scores, scores)
        content = bytearray(shard.read_bytes())


def test_points_that_a_method_needs_are_added_when_it_is_used(tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", trained_mlp)
    prepare(project, device="cpu", methods=["ekfac"])
    engine = Engine(Project.open(project.directory), device="cpu")
    covered = [engine._loaded.index.has(point) for point in engine.facts.followed]
    assert covered == [False, False, True]
    wrong = engine.project.mispredictions()[0]["id"]
    engine.explain(wrong, method="ekfac")
    later = engine.explain(wrong, method="path").scores
    assert all(engine._loaded.index.has(point) for point in engine.facts.traced)
    assert np.array_equal(
        engine_of(tmp_path / "other", trained_mlp).explain(wrong, method="path").scores, later
    )


SLOW_PREPARATION = """
import sys
from attribution import Project, Reporter, prepare
from attribution.index import plan
import attribution.preparation as preparation
preparation.plan_index = lambda shapes, examples, points: plan.IndexPlan(400, "float16", shard_rows=100)
print("started", flush=True)
prepare(Project.open(sys.argv[1]), device="cpu")
"""


@pytest.mark.slow
def test_a_preparation_killed_ten_times_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = random.Random(0)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    results = []
    for name, kills in (("whole", 0), ("killed", 10)):
        directory = tmp_path / name
        SAMPLES["digits"].create(directory)
        for _ in range(kills):
            process = subprocess.Popen(
                [sys.executable, "-c", SLOW_PREPARATION, str(directory)],
                env=environment,
                stdout=subprocess.PIPE,
            )
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(generator.uniform(0.0, 1.2))
            process.send_signal(signal.SIGKILL)
            process.wait()
        subprocess.run(
            [sys.executable, "-c", SLOW_PREPARATION, str(directory)], env=environment, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        project = Project.open(directory)
        ledger = json.loads((project.prepared_directory / "index" / "ledger.json").read_text())
        results.append(
            (
                {name: file["crc32"] for name, file in ledger["files"].items()},
                Engine(project, device="cpu").explain(project.mispredictions()[0]["id"]).scores,
            )
        )
        assert not list(directory.glob("**/*.part"))
    assert results[0][0] == results[1][0]
    assert np.array_equal(results[0][1], results[1][1])


def test_self_influence_is_the_exact_quadratic_form(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", trained_mlp)
    loaded = engine._loaded
    final = loaded.trajectory.final
    capture = GradientCapture(engine.task, loaded.trajectory.model_at(final))
    batch = batch_of(engine.task, "train", range(engine.task.size("train")))
    gradients = capture.gradients(batch.inputs, batch.labels, engine.task.loss)
    from attribution.progress import SILENT

    curvature = loaded.curvature.at(final, SILENT)
    damping = loaded.curvature.damping.absolute(curvature.mean_eigenvalue())
    expected = gradients.dot(curvature.inverse(gradients.dense(), damping)).diagonal() / len(batch)
    assert np.allclose(engine.self_influence(), expected.numpy(), rtol=1e-3)


def test_scores_of_many_test_examples_are_those_of_each(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", trained_mlp)
    ids = list(engine.project.predictions("test").index[:5])
    for method in ("ekfac", "path", "tracin", "grad_dot", "grad_cos", "representation", "tracin_last_layer"):
        together = engine.scores(ids, method=method)
        for row, test_id in zip(together, ids, strict=True):
            alone = engine.explain(test_id, method=method).scores
            assert np.allclose(row, alone, rtol=1e-3, atol=1e-5 * np.abs(alone).max()), method


def test_a_breakdown_adds_up_to_the_score(tmp_path: Path) -> None:
    def build() -> Task:
        torch.manual_seed(0)
        return task_of(settled(TextModel()), texts(40), labels(40))

    for builder, method in ((trained_mlp, "path"), (build, "ekfac")):
        engine = engine_of(tmp_path / method, builder)
        wrong = engine.project.mispredictions()[0]["id"]
        explanation = engine.explain(wrong, method=method)
        for card in explanation.culprits(3):
            found = engine.breakdown(wrong, card["id"], method=method)
            assert found.score == pytest.approx(card["score"], rel=1e-3)
            assert sum(found.by_layer.values()) == pytest.approx(found.score)
            if method == "ekfac":
                position = engine.project.position("train", card["id"])
                ids = engine.task.train[position][0]["input_ids"]
                assert found.by_token is not None and len(found.by_token) == len(ids)
                seen = ("embedding", "shared", "shared")  # the layers that see tokens apart
                assert any(name in found.by_layer for name in seen)
            else:
                assert found.by_token is None
