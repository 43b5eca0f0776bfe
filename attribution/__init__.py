"""Trace a model's misprediction to the training examples behind it, and fix it in a few fine-tuning steps.

Names are imported on first use, so that ``import attribution`` stays light (no torch).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Task": "attribution.task",
    "Checkpoint": "attribution.task",
    "Project": "attribution.projects",
    "create_project": "attribution.projects",
    "prepare": "attribution.preparation",
    "Engine": "attribution.engine",
    "Explanation": "attribution.explanation",
    "TracefixError": "attribution.errors",
    "CancelToken": "attribution.progress",
    "Reporter": "attribution.progress",
    "list_methods": "attribution.methods",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'attribution' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)
