"""SOURCE's scores with a given curvature, to be held against a run that was differentiated step by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attribution import Task
from attribution.curvature import EKFAC
from attribution.methods import method_named
from tests.unit.built_projects import engine_of


def source_scores(
    directory: Path, patch: pytest.MonkeyPatch, task: Task, curvature: EKFAC, segments: int
) -> np.ndarray:
    """SOURCE's scores for logit 'a' of the first test example where every segment has this curvature."""
    engine = engine_of(directory / f"project-{len(list(directory.iterdir()))}", lambda: task)
    patch.setattr(engine._loaded.curvature, "over", lambda points, reporter: curvature)
    patch.setattr(method_named("source"), "_segments", segments)
    return engine.explain("0", method="source", measurement="logit:a").scores


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """How far scores are from what they should be, relative to these."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
