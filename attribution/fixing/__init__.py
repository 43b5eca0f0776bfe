"""Correcting a misprediction by a few fine-tuning steps on chosen training examples (Schioppa et al. 2023)."""

from attribution.fixing.fix import FixRequest, run_fix
from attribution.fixing.strategies import STRATEGIES, suggested_edits

__all__ = ["STRATEGIES", "FixRequest", "run_fix", "suggested_edits"]
