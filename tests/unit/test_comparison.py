"""Comparing methods: agreement of ranks and of lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attribution.comparison import compare
from tests.unit.built_projects import engine_of
from tests.unit.tiny_models import trained_mlp


def test_agreement_and_overlap(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", trained_mlp)
    wrong = engine.project.mispredictions()[0]["id"]
    explanations = [engine.explain(wrong, method=name) for name in ("grad_dot", "grad_cos", "path")]
    found = compare(explanations)
    assert found.methods == ["grad_dot", "grad_cos", "path"]
    for matrix in (found.agreement, found.overlap):
        assert np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 1)
    ranks = [np.argsort(np.argsort(e.scores)) for e in explanations[:2]]
    assert found.agreement[0, 1] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    lists = [set(np.argsort(-np.abs(e.scores))[:20]) for e in explanations[:2]]
    assert found.overlap[0, 1] == len(lists[0] & lists[1]) / 20


def test_scores_that_are_all_alike_agree_with_nothing(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", trained_mlp)
    wrong = engine.project.mispredictions()[0]["id"]
    first = engine.explain(wrong, method="grad_dot")
    flat = engine.explain(wrong, method="grad_cos")
    flat.scores = np.zeros_like(flat.scores)
    assert compare([first, flat]).agreement[0, 1] == 0
