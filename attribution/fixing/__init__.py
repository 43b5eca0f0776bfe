"""Correcting a misprediction by a few fine-tuning steps on chosen training examples (Schioppa et al. 2023).

Names are imported on first use: the names of the strategies need no torch, running a fix does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.lazy import lazily

if TYPE_CHECKING:
    from attribution.fixing.command import EDITS_FILE, also_ids, read_edits, replay_command
    from attribution.fixing.export import Exported, export_fix
    from attribution.fixing.fix import FixRequest, run_fix
    from attribution.fixing.reasons import edit_reasons, explanation_of
    from attribution.fixing.replay import Replayed, run_replay
    from attribution.fixing.settings import STRATEGIES, FixSettings, check_strategy, strategy_of
    from attribution.fixing.stack import PatchedModels
    from attribution.fixing.strategies import suggested_edits
    from attribution.fixing.suggestion import Suggestion, suggest

_HOME = {
    "EDITS_FILE": "attribution.fixing.command",
    "also_ids": "attribution.fixing.command",
    "read_edits": "attribution.fixing.command",
    "replay_command": "attribution.fixing.command",
    "Exported": "attribution.fixing.export",
    "export_fix": "attribution.fixing.export",
    "edit_reasons": "attribution.fixing.reasons",
    "explanation_of": "attribution.fixing.reasons",
    "Replayed": "attribution.fixing.replay",
    "run_replay": "attribution.fixing.replay",
    "FixRequest": "attribution.fixing.fix",
    "run_fix": "attribution.fixing.fix",
    "PatchedModels": "attribution.fixing.stack",
    "FixSettings": "attribution.fixing.settings",
    "STRATEGIES": "attribution.fixing.settings",
    "check_strategy": "attribution.fixing.settings",
    "strategy_of": "attribution.fixing.settings",
    "suggested_edits": "attribution.fixing.strategies",
    "Suggestion": "attribution.fixing.suggestion",
    "suggest": "attribution.fixing.suggestion",
}

__all__ = [
    "EDITS_FILE",
    "STRATEGIES",
    "Exported",
    "FixRequest",
    "FixSettings",
    "PatchedModels",
    "Replayed",
    "Suggestion",
    "also_ids",
    "check_strategy",
    "edit_reasons",
    "explanation_of",
    "export_fix",
    "read_edits",
    "replay_command",
    "run_fix",
    "run_replay",
    "strategy_of",
    "suggest",
    "suggested_edits",
]

__getattr__ = lazily(__name__, _HOME)
