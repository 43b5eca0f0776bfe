"""UMAP in a process of its own.

What it compiles and the neighbours it looks for would hold Python's interpreter for seconds, and every page of a
dashboard with it; and a process can be ended at once when nobody wants the map any more.

    python -m attribution.maps.umap_process INPUT.npz OUTPUT.npz
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attribution.errors import Cancelled, MissingRequirementError, NumericalError
from attribution.progress import Reporter

NEIGHBOURS, MIN_DISTANCE = 15, 0.1
"""UMAP's own defaults (McInnes, Healy and Melville 2018)."""

MOST_FITTED = 4000
"""Examples the plane is fitted to at most: below 4,096 UMAP compares all pairs, and needs no approximate neighbours."""

_AT_ONCE = 2000
"""Further examples that are placed at once: distances to all fitted ones are in memory."""

_LOOK = 0.1
"""Seconds between two looks at the process."""

INSTALL = "pip install 'tracefix[maps]'"


def umap_installed() -> bool:
    """Whether the optional package is there; it is not imported."""
    return importlib.util.find_spec("umap") is not None


def umap_points(
    fitted: NDArray[np.floating], others: NDArray[np.floating], *, seed: int, reporter: Reporter
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points (N, 2) of the vectors (N, D) that the map is fitted to, and points (M, 2) of others, placed among them.

    Raises:
        MissingRequirementError: the optional package is not installed.
        NumericalError: UMAP failed, with its last line.
        Cancelled: the user asked for a stop.
    """
    if not umap_installed():
        raise MissingRequirementError(f"UMAP is not installed: run {INSTALL}, or use PCA.")
    with tempfile.TemporaryDirectory(prefix="tracefix-umap-") as folder:
        given, found = Path(folder) / "given.npz", Path(folder) / "found.npz"
        np.savez(given, fitted=fitted, others=others, seed=seed)
        command = [sys.executable, "-m", "attribution.maps.umap_process", str(given), str(found)]
        with (Path(folder) / "log").open("w+", encoding="utf-8") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                _follow(process, len(fitted), reporter)
            except Cancelled:
                process.kill()
                raise
            finally:
                process.wait()
            log.seek(0)
            words = log.read().strip().splitlines()
        if process.returncode != 0:
            reason = words[-1] if words else f"exit status {process.returncode}"
            raise NumericalError(f"UMAP could not make this map ({reason}): use PCA.")
        with np.load(found, allow_pickle=False) as stored:
            return stored["fitted"], stored["others"]


def _follow(process: subprocess.Popen[bytes], count: int, reporter: Reporter) -> None:
    """Report until the process has ended. It does not say how far it is: the bar nears its end ever more slowly."""
    started, usual = time.monotonic(), 8.0 + count / 250
    while process.poll() is None:
        passed = (time.monotonic() - started) / usual
        reporter(passed / (1 + passed), f"Arranging {count:,} examples with UMAP")
        time.sleep(_LOOK)


def _main(given: str, found: str) -> None:
    import umap

    with np.load(given, allow_pickle=False) as stored:
        fitted, others, seed = stored["fitted"], stored["others"], int(stored["seed"])
    reducer = umap.UMAP(
        n_neighbors=min(NEIGHBOURS, len(fitted) - 1),
        min_dist=MIN_DISTANCE,
        random_state=seed,
        n_jobs=1,  # one thread, without which a seed does not decide everything
        init="pca" if len(fitted) <= NEIGHBOURS else "spectral",
    )
    placed = np.asarray(reducer.fit_transform(fitted), dtype=np.float32)
    parts = [
        np.asarray(reducer.transform(others[start : start + _AT_ONCE]), dtype=np.float32)
        for start in range(0, len(others), _AT_ONCE)
    ]
    np.savez(found, fitted=placed, others=np.concatenate(parts) if parts else np.empty((0, 2), np.float32))


if __name__ == "__main__":
    _main(*sys.argv[1:])
