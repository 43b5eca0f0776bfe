"""The study of label errors: its figures against oracles, known and planted errors, and that it goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sklearn.metrics import roc_auc_score
from torch import nn

from attribution import Engine
from attribution.errors import NotFoundError, UsageError
from attribution.projects import Project
from attribution.projects.study_records import MISLABELS
from attribution.studies import mislabels as mislabels_module
from attribution.studies.detectors import DETECTORS, NEIGHBOURS, Suspect, neighbours
from attribution.studies.mislabels import auc, known_errors, mislabel_study, planted
from tests.command_line import CommandLine


@pytest.fixture
def engine(own_digits: Project) -> Engine:
    return Engine(own_digits, device="cpu")


@given(some.integers(4, 60), some.integers(0, 2**31), some.booleans())
@settings(max_examples=60, deadline=None)
def test_the_area_is_scikit_learns(size: int, seed: int, tied: bool) -> None:
    generator = np.random.default_rng(seed)
    suspicion, wrong = generator.normal(size=size), generator.random(size) < 0.3
    suspicion = suspicion.round() if tied else suspicion
    wrong[0], wrong[1] = True, False
    assert auc(suspicion, wrong)[0] == pytest.approx(roc_auc_score(wrong, suspicion))


def test_its_standard_error_is_that_of_repeated_draws() -> None:
    generator = np.random.default_rng(0)
    wrong = np.arange(400) < 40
    draws = [auc(generator.normal(size=400) + 1.2 * wrong, wrong) for _ in range(600)]
    areas, errors = np.array(draws).T
    assert errors.mean() == pytest.approx(areas.std(), rel=0.1)


def test_planted_errors_are_as_many_as_asked_for_and_really_wrong() -> None:
    labels = np.arange(300) % 4
    changed, wrong = planted(labels, 4, 0.1, [0, 1])
    assert wrong.sum() == 30 and (changed[wrong] != labels[wrong]).all()
    assert (changed[~wrong] == labels[~wrong]).all() and set(changed) == {0, 1, 2, 3}
    assert (planted(labels, 4, 0.1, [0, 2])[1] != wrong).any()
    assert planted(labels[:3], 4, 0.99, [0])[1].sum() == 2, "one stays right"


def test_neighbours_are_those_by_angle_and_an_example_is_none_of_its_own() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(40, 5)).astype(np.float32)
    labels = generator.integers(0, 3, 40)

    class Given(Suspect):
        @property
        def representations(self) -> np.ndarray:
            return rows

    suspect = Given(None, nn.Identity(), labels, None, [], 0, "cpu", None)  # type: ignore[arg-type]
    found = neighbours(suspect)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for row in range(40):
        similar = unit @ unit[row]
        similar[row] = -2
        nearest = np.argsort(-similar)[:NEIGHBOURS]
        weights = (similar[nearest] + 1) / 2
        assert found[row] == pytest.approx(
            (weights * (labels[nearest] != labels[row])).sum() / weights.sum(), abs=1e-5
        )


def test_known_errors_are_found_with_the_projects_own_model(engine: Engine) -> None:
    known = known_errors(engine)
    assert known is not None and known.sum() == 100
    result = mislabel_study(engine)
    assert result["wrong"] == [100] and not result["planted"]
    assert list(result["detectors"]) == list(DETECTORS)
    areas = {name: row["auc"] for name, row in result["detectors"].items()}
    assert min(areas[name] for name in areas if name != "random") > 0.98
    assert abs(areas["random"] - 0.5) < 0.15
    losses = engine.project.predictions("train")["loss"].to_numpy()
    assert areas["loss"] == pytest.approx(roc_auc_score(known, losses), abs=1e-3)
    own = engine.self_influence()
    assert areas["self_influence"] == pytest.approx(roc_auc_score(known, own), abs=0.01)


def test_errors_are_planted_where_none_are_known(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mislabels_module, "known_errors", lambda engine: None)
    trained: list[int] = []
    real = mislabels_module.retrain

    def counted(*args: object, **more: object) -> nn.Module:
        trained.append(len(args[3].labels))  # type: ignore[attr-defined]
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(mislabels_module, "retrain", counted)
    asked = {"detectors": ["loss", "random"], "seeds": 2}
    first = mislabel_study(engine, **asked)
    assert first["planted"] and first["wrong"] == [100, 100] == trained
    assert first["detectors"]["loss"]["auc"] > 0.9
    assert mislabel_study(engine, **asked) == first and len(trained) == 2, "what is known is not made again"
    more = mislabel_study(engine, **asked | {"seeds": 3})
    assert len(trained) == 3 and len(more["wrong"]) == 3
    mislabel_study(engine, **asked | {"share": 0.2})
    assert trained[3:] == [200, 200]


def test_what_is_not_there_is_said(engine: Engine) -> None:
    with pytest.raises(NotFoundError, match=r"no detector 'guess' .* loss, held_out"):
        mislabel_study(engine, detectors=["guess"])
    with pytest.raises(UsageError, match="between 0 and 1"):
        mislabel_study(engine, share=1.0)


def test_the_command_prints_what_it_stores(tracefix: CommandLine, own_digits: Project) -> None:
    outcome = tracefix("study", own_digits.directory, "mislabels", "--methods", "loss,random", "--json")
    assert outcome.status == 0, outcome.err
    document = json.loads(outcome.out)
    assert document == json.loads((own_digits.directory / MISLABELS).read_text())
    assert list(document["detectors"]) == ["loss", "random"]
    shown = tracefix("study", own_digits.directory, "mislabels", "--methods", "loss")
    assert shown.status == 0 and "100 wrong training labels, known from the data" in shown.out
    unknown = tracefix("study", own_digits.directory, "mislabels", "--methods", "path")
    assert unknown.status == 1 and "no detector 'path'" in unknown.err
