"""Versions of what a result depends on, for records that somebody may want to repeat. Light: imports nothing."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

RECORDED = ("tracefix", "torch", "transformers")


def library_versions() -> dict[str, str]:
    """Versions by name, Python's included; what is not installed as a package is left out."""
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout that nobody installed
            continue
    return found
