"""Models trained again on random halves of the training data: what really happens without the other half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attribution.batches import batches
from attribution.finite import check_finite
from attribution.fixing.baselines import digest_of_start, retrained_from
from attribution.fixing.verify import PREDICTION_BATCH
from attribution.progress import Reporter
from attribution.projects import Project
from attribution.projects.ledger import Ledger
from attribution.retraining import TrainingRecipe, retrain
from attribution.studies.kept import keep_arrays, kept_arrays
from attribution.task import Task

FOLDER = "halves"
"""Within the prepared directory, which goes when model or data change."""


@dataclass(frozen=True)
class Halves:
    """Models by subset and seed.

    Args:
        members: which training examples each subset has, (subsets, n_train) of booleans.
        logits: what each model says of the queries, (subsets, seeds, Q, C).
        trained: how many models were trained now, not read.
        from_step: the step of the recorded run that they all start from.
    """

    members: NDArray[np.bool_]
    logits: NDArray[np.float32]
    trained: int
    from_step: int


def random_halves(size: int, subsets: int, seed: int) -> NDArray[np.bool_]:
    """Random halves of ``size`` examples, (subsets, size); the first ones are the same however many there are."""
    members = np.zeros((subsets, size), dtype=bool)
    for number in range(subsets):
        drawn = np.random.default_rng([seed, number]).permutation(size)[: size // 2]
        members[number, drawn] = True
    return members


def retrained_on_halves(
    project: Project,
    task: Task,
    queries: Sequence[int],
    *,
    subsets: int,
    seeds: int,
    seed: int,
    device: torch.device | str,
    reporter: Reporter,
) -> Halves:
    """Train on each half from each seed, as the record says and as many epochs as it says.

    Each model's outputs are stored as soon as it is trained: the same again goes on where it was stopped, and with more
    subsets or seeds it takes over those that there are.

    Args:
        queries: positions of the test examples to look at.
        seed: of the halves.

    Raises:
        MissingRequirementError: the training record lacks something.
        NumericalError: training diverged.
        ProjectError: what training starts from does not fit, or the folder cannot be written.
        Cancelled: the user asked for a stop.
    """
    members = random_halves(task.size("train"), subsets, seed)
    recipe = TrainingRecipe.of(task).on_share(float(members[0].mean()))
    arguments = {**retrained_from(project, device), "queries": list(queries), "halves": seed}
    ledger = Ledger.resumed(project.prepared_directory / FOLDER, arguments)
    names = {
        (half, run): f"half-{half}-seed-{run}-{digest}.npz"
        for run, digest in enumerate(digest_of_start(task, recipe, run) for run in range(seeds))
        for half in range(subsets)
    }
    missing = [key for key in sorted(names) if names[key] not in ledger.files]
    for done, (half, run) in enumerate(missing):
        model = retrain(
            task,
            recipe,
            run,
            members=np.flatnonzero(members[half]).tolist(),
            device=device,
            reporter=reporter.share(done / len(missing), (done + 1) / len(missing)),
            message=f"Training {done + 1} of {len(missing)}: half {half + 1}, seed {run}",
        )
        keep_arrays(ledger, names[half, run], logits=outputs_of(task, model, queries, device).numpy())
    stored = {key: kept_arrays(ledger, name)["logits"] for key, name in names.items()}
    logits = np.stack([np.stack([stored[half, run] for run in range(seeds)]) for half in range(subsets)])
    return Halves(members, logits, len(missing), recipe.from_step)


def outputs_of(task: Task, model: nn.Module, queries: Sequence[int], device: torch.device | str) -> Tensor:
    """Logits (Q, C) of test examples, in their order."""
    rows: dict[int, Tensor] = {}
    with torch.no_grad():
        for batch in batches(task, "test", PREDICTION_BATCH, queries):
            logits = task.logits(model, batch.to(device).inputs).float().cpu()
            rows |= dict(zip(batch.positions.tolist(), logits, strict=True))
    found = torch.stack([rows[position] for position in queries])
    check_finite(found, "The retrained model's output")
    return found
