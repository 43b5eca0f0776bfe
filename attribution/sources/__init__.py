"""Where a `Task` comes from: a transformers folder with tables, or a Python function."""

from attribution.sources.loading import load_task

__all__ = ["load_task"]
