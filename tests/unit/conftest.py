"""What the unit tests share: numbers that are the same in every run, and a prepared tiny project."""

from __future__ import annotations

import pytest
import torch

from attribution import Engine
from tests.unit.built_projects import engine_of
from tests.unit.tiny_models import trained_mlp


@pytest.fixture(autouse=True)
def _same_numbers_in_every_run() -> None:
    """Models and inputs that a test draws without a generator of its own are the same whenever it runs."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The engine of `trained_mlp`, prepared once for each test file, which may complete its index."""
    return engine_of(tmp_path_factory.mktemp("mlp") / "project", trained_mlp)


@pytest.fixture(scope="module")
def misprediction(engine: Engine) -> str:
    """Id of the test example that the model is most wrong about."""
    return str(engine.project.mispredictions()[0]["id"])
