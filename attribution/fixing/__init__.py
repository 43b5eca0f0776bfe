"""Correcting a misprediction by a few fine-tuning steps on chosen training examples (Schioppa et al. 2023).

Names are imported on first use: the names of the strategies need no torch, running a fix does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.lazy import lazily

if TYPE_CHECKING:
    from attribution.fixing.fix import FixRequest, run_fix
    from attribution.fixing.settings import STRATEGIES, FixSettings, check_strategy, strategy_of
    from attribution.fixing.strategies import suggested_edits

_HOME = {
    "FixRequest": "attribution.fixing.fix",
    "run_fix": "attribution.fixing.fix",
    "FixSettings": "attribution.fixing.settings",
    "STRATEGIES": "attribution.fixing.settings",
    "check_strategy": "attribution.fixing.settings",
    "strategy_of": "attribution.fixing.settings",
    "suggested_edits": "attribution.fixing.strategies",
}

__all__ = [
    "STRATEGIES",
    "FixRequest",
    "FixSettings",
    "check_strategy",
    "run_fix",
    "strategy_of",
    "suggested_edits",
]

__getattr__ = lazily(__name__, _HOME)
