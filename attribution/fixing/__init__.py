"""Correcting a misprediction by a few fine-tuning steps on chosen training examples (Schioppa et al. 2023).

Names are imported on first use: the names of the strategies need no torch, running a fix does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attribution.fixing.fix import FixRequest, run_fix
    from attribution.fixing.strategies import STRATEGIES, check_strategy, suggested_edits

_HOME = {
    "FixRequest": "attribution.fixing.fix",
    "run_fix": "attribution.fixing.fix",
    "STRATEGIES": "attribution.fixing.strategies",
    "check_strategy": "attribution.fixing.strategies",
    "suggested_edits": "attribution.fixing.strategies",
}

__all__ = ["STRATEGIES", "FixRequest", "check_strategy", "run_fix", "suggested_edits"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'attribution.fixing' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)
