"""Trace a model's misprediction to the training examples behind it, and fix it in a few fine-tuning steps.

Names are imported on first use, so that ``import attribution`` stays light (no torch); type checkers see them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.lazy import lazily

if TYPE_CHECKING:
    from attribution.engine import Engine
    from attribution.errors import TracefixError
    from attribution.explanation import Explanation
    from attribution.methods import list_methods
    from attribution.preparation import prepare
    from attribution.progress import CancelToken, Reporter
    from attribution.projects import Project, create_project
    from attribution.saliency import Saliency
    from attribution.sources.checkpoint_files import checkpoints_from
    from attribution.task import Checkpoint, Task, TrainedModel, optimizer_second_moments

_HOME = {
    "Task": "attribution.task",
    "Checkpoint": "attribution.task",
    "TrainedModel": "attribution.task",
    "Project": "attribution.projects",
    "create_project": "attribution.projects",
    "prepare": "attribution.preparation",
    "Engine": "attribution.engine",
    "Explanation": "attribution.explanation",
    "Saliency": "attribution.saliency",
    "TracefixError": "attribution.errors",
    "CancelToken": "attribution.progress",
    "Reporter": "attribution.progress",
    "list_methods": "attribution.methods",
    "checkpoints_from": "attribution.sources.checkpoint_files",
    "optimizer_second_moments": "attribution.task",
}

__all__ = [
    "CancelToken",
    "Checkpoint",
    "Engine",
    "Explanation",
    "Project",
    "Reporter",
    "Saliency",
    "Task",
    "TracefixError",
    "TrainedModel",
    "checkpoints_from",
    "create_project",
    "list_methods",
    "optimizer_second_moments",
    "prepare",
]

__getattr__ = lazily(__name__, _HOME)
