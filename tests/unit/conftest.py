"""What holds for every test here."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_numbers_in_every_run() -> None:
    """Models and inputs that a test draws without a generator of its own are the same whenever it runs."""
    torch.manual_seed(0)
