"""The fidelity benchmark marks rightly, retrains resumably, and passes runs to other libraries unchanged."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution import Task, list_methods
from tests.benchmarks.lds import ours
from tests.benchmarks.lds.cache import setting_folder
from tests.benchmarks.lds.compare import ask, merged, problem_of
from tests.benchmarks.lds.correlation import agreement, lds
from tests.benchmarks.lds.data import MissingDataError, load_data
from tests.benchmarks.lds.document import section
from tests.benchmarks.lds.exchange import Answer, read_answer, read_problem, write_answer, write_problem
from tests.benchmarks.lds.peers.registry import PEERS
from tests.benchmarks.lds.queries import MEASUREMENTS, Queries, measured
from tests.benchmarks.lds.run import Run, trained_run
from tests.benchmarks.lds.settings import SETTINGS, TINY
from tests.benchmarks.lds.studies import study
from tests.benchmarks.lds.task import task_of
from tests.benchmarks.lds.truth import Truth, retrained

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(cache: Path) -> Run:
    return trained_run(TINY, cache)


@pytest.fixture(scope="module")
def task(run: Run) -> Task:
    return task_of(run)


def linear_truth(effects: Tensor, noise: float = 0.0) -> tuple[Truth, Queries]:
    """A truth whose loss is the sum of effects (N, Q) over the subset, under two classes."""
    generator = torch.Generator().manual_seed(0)
    size, queries = effects.shape
    member = (torch.rand(40, size, generator=generator) < 0.5).double()
    losses = 3 + (member @ effects.double()).unsqueeze(1).expand(-1, 4, -1)
    losses = losses + noise * torch.randn(losses.shape, generator=generator, dtype=torch.float64)
    # Of logits (0, z) the loss at class 0 is log(1 + exp(z)).
    logits = torch.stack([torch.zeros_like(losses), torch.expm1(losses).log()], dim=-1)
    zeros = torch.zeros(queries, dtype=torch.long)
    return Truth(member, logits, 0.0), Queries(list(range(queries)), zeros, zeros, "loss")


def test_the_true_effects_score_one_and_their_negatives_minus_one() -> None:
    effects = torch.rand(10, 3, generator=torch.Generator().manual_seed(1)) * 0.3
    truth, queries = linear_truth(effects)
    assert lds(truth, queries, effects)["lds"] == pytest.approx(1.0)
    assert lds(truth, queries, -effects)["lds"] == pytest.approx(-1.0)
    assert agreement(truth, queries)["ceiling"] == pytest.approx(1.0)


def test_no_prediction_passes_the_ceiling_of_a_noisy_truth_and_the_true_effects_come_near_it() -> None:
    effects = torch.rand(10, 60, generator=torch.Generator().manual_seed(1)) * 0.3
    truth, queries = linear_truth(effects, noise=0.4)
    best, ceiling = lds(truth, queries, effects)["lds"], agreement(truth, queries)["ceiling"]
    assert 0.5 < ceiling < 0.95
    assert best == pytest.approx(ceiling, abs=0.05)


def test_measurements_are_the_definitions() -> None:
    logits = torch.randn(5, 2, 3, dtype=torch.float64)
    true, predicted = torch.tensor([0, 2]), torch.tensor([1, 2])
    chances = logits.softmax(dim=-1)
    assert torch.allclose(
        measured(logits, true, predicted, "loss")[:, 1], -chances[:, 1, 2].log(), atol=1e-12
    )
    margin = measured(logits, true, predicted, "margin")
    assert torch.allclose(margin[:, 0], (chances[:, 0, 1] / chances[:, 0, 0]).log(), atol=1e-12)
    odds = chances[:, 1, 2] / (1 - chances[:, 1, 2])
    assert torch.allclose(margin[:, 1], -odds.log(), atol=1e-12)


def test_an_interrupted_retraining_goes_on_where_it_stopped(run: Run, cache: Path, tmp_path: Path) -> None:
    whole = retrained(run, cache, progress=False)
    again = tmp_path / "again"
    retrained(run, again, progress=False)
    folder = setting_folder(again, TINY) / "truth"
    chunks = sorted(folder.iterdir())
    assert [chunk.name for chunk in chunks] == ["chunk-000.npz", "chunk-001.npz", "chunk-002.npz"]
    chunks[1].unlink()
    kept = chunks[0].stat().st_mtime_ns
    assert torch.equal(retrained(run, again, progress=False).logits, whole.logits)
    assert chunks[0].stat().st_mtime_ns == kept


def test_a_changed_setting_does_not_meet_an_old_cache() -> None:
    folders = {setting_folder(Path(), setting).name for setting in (*SETTINGS.values(), TINY)}
    assert len(folders) == len(SETTINGS) + 1
    assert SETTINGS["digits-noisy"].fingerprint != SETTINGS["digits-clean"].fingerprint


def test_absent_fashion_data_are_one_sentence() -> None:
    with pytest.raises(MissingDataError, match="--fashion FOLDER"):
        load_data(SETTINGS["fashion-full"], None)


def test_a_run_reaches_other_processes_unchanged(run: Run, tmp_path: Path) -> None:
    problem = problem_of(run, "margin")
    write_problem(tmp_path / "problem.npz", problem)
    read = read_problem(tmp_path / "problem.npz")
    assert (read.widths, read.rates, read.damping) == (problem.widths, problem.rates, problem.damping)
    for name in ("inputs", "labels", "query_inputs", "true", "predicted"):
        assert torch.equal(getattr(read, name), getattr(problem, name))
    for number in range(len(read.checkpoints)):
        assert torch.equal(read.model(number)(run.query_inputs), problem.model(number)(run.query_inputs))
    logits = read.model()(run.query_inputs)
    assert torch.equal(read.measure_coded(logits, read.coded_queries), run.queries("margin").value(logits))
    answer = Answer(torch.randn(4, 2), 1.5, "1.0")
    write_answer(tmp_path / "answer.npz", answer)
    back = read_answer(tmp_path / "answer.npz")
    assert torch.equal(back.scores, answer.scores)
    assert (back.seconds, back.version) == (1.5, "1.0")


def test_captums_tracing_in_its_own_process_equals_ours(run: Run, task: Task, tmp_path: Path) -> None:
    problem = tmp_path / "problem.npz"
    write_problem(problem, problem_of(run, "margin"))
    answer = ask("captum_tracin", problem, tmp_path / "answer.npz", sys.executable)
    assert torch.allclose(
        answer.scores, ours.scores("tracin", [task], run.queries("margin")).float(), rtol=1e-4, atol=1e-6
    )


def test_every_method_and_every_study_gives_finite_figures(run: Run, task: Task, cache: Path) -> None:
    truth = retrained(run, cache, progress=False)
    runs = [task, *(task_of(trained_run(TINY, cache, seed=seed)) for seed in range(2, 6))]
    marks = {}
    for name in ours.methods_for(TINY.parameters):
        scores = ours.scores(name, runs, run.queries("loss"))
        assert scores.shape == (TINY.train_size, TINY.queries), name
        assert bool(torch.isfinite(scores).all()), name
        marks[name] = lds(truth, run.queries("loss"), scores)
    found = study(run, truth)["loss"]
    for name in ("path", "source_1", "source_3"):
        assert found["marks"][name] == pytest.approx(marks[name])
    assert found["damping"]["automatic"]["final"] == pytest.approx(marks["ekfac"])
    assert found["damping"]["automatic"]["path"] == found["checkpoints"]["1, 2, 6"]["balanced"]
    assert found["checkpoints"]["all six"]["balanced"] == pytest.approx(marks["path_6"])
    difference = marks["path"]["lds"] - marks["source_1"]["lds"]
    assert found["paired"]["path - source_1"]["difference"] == pytest.approx(difference)
    figures = [each["lds"] for row in found["damping"].values() for each in row.values()]
    assert bool(np.isfinite(figures).all())


def test_every_method_is_asked_but_those_that_cannot_be() -> None:
    asked = {entry.method().info.name for entry in ours.OURS.values()}
    assert asked | ours.NOT_APPLICABLE == {info.name for info in list_methods()}
    assert not asked & ours.NOT_APPLICABLE
    assert not ours.OURS.keys() & PEERS.keys(), "their rows stand in one table"


def test_rows_that_are_measured_again_leave_the_others_as_they_are() -> None:
    old, new = {"lds": 0.1}, {"lds": 0.2}
    before = {"versions": {"torch": "1"}, **{m: {"ekfac": old, "pydvl": old} for m in MEASUREMENTS}}
    found = merged(before, {"versions": {"torch": "2"}, **{m: {"path": new} for m in MEASUREMENTS}})
    assert found["versions"] == {"torch": "2"}
    for measurement in MEASUREMENTS:
        assert list(found[measurement].items()) == [("ekfac", old), ("path", new), ("pydvl", old)]


def test_the_tables_in_the_document_are_those_of_the_figures() -> None:
    results = json.loads((DOCS / "fidelity.json").read_text(encoding="utf-8"))
    assert section(results).strip() in (DOCS / "benchmarks.md").read_text(encoding="utf-8")
