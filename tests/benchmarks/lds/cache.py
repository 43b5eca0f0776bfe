"""Where computed runs and retrains are kept, so that they are computed once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .settings import Setting

CACHE_VARIABLE = "TRACEFIX_BENCHMARK_CACHE"


def cache_folder(option: str | Path | None = None) -> Path:
    """``option``, else the environment variable, else a folder in the user's cache directory."""
    chosen = option or os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "tracefix" / "fidelity"


def setting_folder(cache: Path, setting: Setting) -> Path:
    """The setting's own folder; another one as soon as a number of the setting changes."""
    return cache / f"{setting.name}-{setting.fingerprint}"


def save_arrays(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz under a temporary name, then rename it: a file that exists is complete."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.stem}.{os.getpid()}.partial.npz")
    try:
        np.savez(temporary, **arrays)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def load_arrays(file: Path) -> dict[str, np.ndarray]:
    """Every array of an .npz."""
    with np.load(file) as stored:
        return {name: stored[name] for name in stored.files}
