"""Tracing on the `digits` sample, over all its mispredictions.

Prints, and writes to docs/digits.json: for each method the share of planted label errors among the ten strongest
culprits (10 % of all training labels are planted errors).

    python tests/benchmarks/digits_figures.py [--projects DIR]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attribution import Engine
from attribution.methods import availability
from dashboard.opening import open_prepared

TOP = 10
OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "digits.json"


def mean_with_error(values: Sequence[float]) -> dict[str, float]:
    """Mean and its standard error over mispredictions."""
    return {"mean": float(np.mean(values)), "standard_error": float(np.std(values) / np.sqrt(len(values)))}


def planted_share(engine: Engine, method: str) -> dict[str, float]:
    """Share of planted label errors among the strongest culprits."""
    examples = engine.project.examples("train")
    planted = (examples["label"] != examples["original_label"]).to_numpy()
    # All at once: the index of `digits` leaves nothing out, and iterative solves share their passes.
    scores = engine.scores([wrong["id"] for wrong in engine.project.mispredictions()], method=method)
    shares = planted[np.argsort(-scores, axis=1, kind="stable")[:, :TOP]].mean(axis=1).tolist()
    return mean_with_error(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        project = open_prepared("digits", options.projects or Path(scratch))
        engine = Engine(project, device="cpu")
        methods = [name for name, missing in availability(project).items() if missing is None]
        result = {
            "mispredictions": len(project.mispredictions()),
            "base_rate": 0.1,
            "planted_share": {name: planted_share(engine, name) for name in methods},
        }
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
