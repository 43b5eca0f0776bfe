"""Where a `Task` comes from: a transformers folder with tables, or a Python function.

Names are imported on first use: checking a name or a table needs no torch, loading a task does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.lazy import lazily

if TYPE_CHECKING:
    from attribution.sources.loading import load_task

_HOME = {"load_task": "attribution.sources.loading"}

__all__ = ["load_task"]

__getattr__ = lazily(__name__, _HOME)
