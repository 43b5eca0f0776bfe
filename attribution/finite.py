"""Scores never contain NaN silently."""

from __future__ import annotations

import torch
from torch import Tensor

from attribution.errors import NumericalError


def check_finite(values: Tensor, what: str) -> None:
    """Raise `NumericalError` when a value is NaN or infinite."""
    if not bool(torch.isfinite(values).all()):
        raise NumericalError(
            f"{what} is NaN or infinite: check the model's weights and inputs, or use --precision fp32."
        )
