"""Every registered method, on bundled samples: numbers, or the sentence that says what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from attribution import Engine, Project, prepare
from attribution.errors import MissingRequirementError
from attribution.methods import list_methods
from sample_models import SAMPLES

METHODS = sorted(info.name for info in list_methods())
WANTING = {
    "digits": {
        "bm25": "the examples of this project are not texts",
        "turnover_dropout": "It needs a model trained with turn-over dropout",
    },
    "ensemble": {
        "bm25": "the examples of this project are not texts",
        "exact": "parameters",
    },
}
"""What a sample lacks, by sample and method."""


@pytest.fixture(scope="module")
def engines(prepared_digits: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Engine]:
    folder = tmp_path_factory.mktemp("samples") / "ensemble"
    SAMPLES["ensemble"].create(folder)
    prepare(Project.open(folder), device="cpu")
    return {
        "digits": Engine(prepared_digits, device="cpu"),
        "ensemble": Engine(Project.open(folder), device="cpu"),
    }


@pytest.mark.parametrize(
    ("sample", "method"),
    [("digits", method) for method in METHODS]
    + [("ensemble", method) for method in ("turnover_dropout", "source", "trak", "bm25", "exact")],
)
def test_every_method_runs_where_it_can(engines: dict[str, Engine], sample: str, method: str) -> None:
    engine = engines[sample]
    wrong = engine.project.mispredictions()[0]["id"]
    if method in WANTING[sample]:
        with pytest.raises(MissingRequirementError, match=WANTING[sample][method]):
            engine.explain(wrong, method=method)
        return
    explanation = engine.explain(wrong, method=method)
    assert np.isfinite(explanation.scores).all() and explanation.scores.any()
    assert explanation.culprits(5) and explanation.helpers(5)
