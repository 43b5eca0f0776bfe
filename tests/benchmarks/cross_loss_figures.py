"""Cross-loss influence on clusters against leave-one-out retraining, with the wrong-loss control (Silva et al. 2022).

Three Gaussian clusters, deep embedded clustering with a frozen target (tests/unit/clusters.py, which the unit test uses
too), ten draws of points and initial weights. Prints, and writes to docs/cross_loss.json, the correlation with
retraining of the influence by the training loss, and of that by the measured loss in its place.

    python tests/benchmarks/cross_loss_figures.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.unit.clusters import CLUSTERS, agreement, clustered

SEEDS = 10
OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "cross_loss.json"


def summary(values: np.ndarray) -> dict[str, Any]:
    """Of correlations (seeds, clusters): their mean over all, its standard error over seeds, least and greatest."""
    by_seed = values.mean(axis=1)
    return {
        "mean": float(values.mean()),
        "standard_error": float(by_seed.std(ddof=1) / np.sqrt(len(by_seed))),
        "least": float(values.min()),
        "greatest": float(values.max()),
        "by_seed": values.tolist(),
    }


def main() -> None:
    torch.set_num_threads(1)
    runs = []
    for seed in range(SEEDS):
        found = clustered(seed)
        runs.append([agreement(found, cluster) for cluster in range(CLUSTERS)])
        print(seed, runs[-1], flush=True)
    both = np.array(runs)  # (seeds, clusters, 2)
    results = {"training_loss": summary(both[:, :, 0]), "wrong_loss": summary(both[:, :, 1])}
    OUTPUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
