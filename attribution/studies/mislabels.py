"""The study of label errors: how well they are told from right labels, by what a model makes of them.

Where the data say which labels are wrong (``original_label``), these are to be found, with the project's own model.
Else a share of the training labels is changed at random, and the model is trained again on them, as its record says;
labels that were wrong before count as right then, so that detectors are better than they look.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import nn

from attribution.batches import evaluation_copy
from attribution.engine import Engine
from attribution.errors import NotFoundError, UsageError
from attribution.fixing.baselines import digest_of_start, retrained_from
from attribution.progress import SILENT, Reporter
from attribution.projects.files import write_text
from attribution.projects.ledger import Ledger
from attribution.projects.study_records import MISLABELS
from attribution.retraining import DataChanges, TrainingRecipe, retrain
from attribution.studies.detectors import DETECTORS, OF_REPRESENTATIONS, Suspect
from attribution.studies.kept import keep_arrays, kept_arrays

FOLDER = "mislabels"
"""Within the prepared directory, which goes when model or data change."""

SHARE, SEEDS = 0.1, 2
"""Share of the labels that are planted wrong, and models trained on them."""

LOOKED_AT = 1000
"""Examples at most that detectors which cost a gradient each look at: all that are wrong and others, at random."""


def mislabel_study(
    engine: Engine,
    *,
    detectors: Sequence[str] | None = None,
    share: float = SHARE,
    seeds: int = SEEDS,
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Measure detectors of label errors; the result is stored under the project too.

    Args:
        detectors: names of `attribution.studies.detectors.DETECTORS`; all that can run here if not given.
        share: of the labels, to be planted wrong where the data do not know wrong ones.
        seeds: models trained on planted errors, each with errors of its own.
        seed: of the errors.

    Returns:
        By detector ``auc``, the probability that a wrong label looks more suspicious than a right one, its
        ``standard_error`` and the ``seconds`` per model; ``wrong``, how many labels were to be found in each model,
        whether they were ``planted``, and what it was measured on.

    Raises:
        UsageError: no label is wrong, or all are.
        NotFoundError: no such detector.
        MissingRequirementError: the training record lacks something.
        NumericalError: training diverged, or a number is not finite.
        ProjectError: the folder cannot be written.
        Cancelled: the user asked for a stop; models that are done are kept.
    """
    names = _detectors(engine, detectors)
    known = known_errors(engine)
    if not 0 < share < 1 or seeds < 1:
        raise UsageError("Label errors need a share between 0 and 1, and one model at least.")
    runs = 1 if known is not None else seeds
    arguments = {**retrained_from(engine.project, engine.device), "share": share, "errors": seed}
    ledger = Ledger.resumed(engine.project.prepared_directory / FOLDER, arguments)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    counts = []
    for run in range(runs):
        part = reporter.share(run / runs, (run + 1) / runs)
        labels = engine.project.predictions("train")["label"].to_numpy().astype(np.int64)
        if known is None:
            labels, wrong = planted(labels, len(engine.project.class_names), share, [seed, run])
        else:
            wrong = known
        counts.append(int(wrong.sum()))
        suspicion = _suspicion(engine, ledger, names, labels, wrong, run if known is None else None, part)
        for name, (numbers, seconds) in suspicion.items():
            looked = ~np.isnan(numbers)
            found[name].append((*auc(numbers[looked], wrong[looked]), seconds))
    result = {
        "detectors": {
            name: {
                "auc": float(np.mean([one[0] for one in each])),
                "standard_error": math.sqrt(sum(one[1] ** 2 for one in each)) / len(each),
                "seconds": float(np.mean([one[2] for one in each])),
            }
            for name, each in found.items()
        },
        "wrong": counts,
        "planted": known is None,
        "share": share if known is None else None,
        "seed": seed,
        "prepared_from": engine.project.prepared_from,
    }
    write_text(engine.project.directory / MISLABELS, json.dumps(result, indent=2) + "\n")
    return result


def known_errors(engine: Engine) -> NDArray[np.bool_] | None:
    """Which training labels differ from the original ones (N,); None where the data know no wrong ones."""
    table = engine.project.examples("train")
    if "original_label" not in table.columns:
        return None
    names = engine.project.class_names
    labels = engine.project.predictions("train")["label"]
    own = [names[int(label)] for label in labels]
    said = table["original_label"].reindex(labels.index).tolist()
    original = [names[int(one)] if isinstance(one, int | float) and one == one else str(one) for one in said]
    wrong = np.array([mine != theirs for mine, theirs in zip(own, original, strict=True)])
    return wrong if wrong.any() and not wrong.all() else None


def planted(
    labels: NDArray[np.int64], classes: int, share: float, seed: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The labels (N,) with a share of them changed to another class each, at random, and which those are."""
    generator = np.random.default_rng([*seed, 7])
    count = min(max(round(share * len(labels)), 1), len(labels) - 1)
    chosen = generator.permutation(len(labels))[:count]
    changed = labels.copy()
    changed[chosen] = (changed[chosen] + generator.integers(1, classes, count)) % classes
    return changed, changed != labels


def auc(suspicion: NDArray[np.floating], wrong: NDArray[np.bool_]) -> tuple[float, float]:
    """Area under the ROC curve, ties counting half, and its standard error (DeLong et al. 1988).

    Args:
        suspicion: larger where a label looks wrong, (N,).
        wrong: whether it is, (N,), some of both.
    """
    high, low = suspicion[wrong], suspicion[~wrong]
    ranks = rankdata(np.concatenate([high, low]))
    # Of each wrong one the share of right ones that look less suspicious; of each right one the share of wrong ones
    # that look more so.
    above = (ranks[: len(high)] - rankdata(high)) / len(low)
    below = 1 - (ranks[len(high) :] - rankdata(low)) / len(high)
    variance = sum(float(part.var(ddof=1)) / len(part) for part in (above, below) if len(part) > 1)
    return float(above.mean()), math.sqrt(variance)


def _detectors(engine: Engine, wanted: Sequence[str] | None) -> list[str]:
    able = [name for name in DETECTORS if engine.facts.head is not None or name not in OF_REPRESENTATIONS]
    if wanted is None:
        return able
    for name in wanted:
        if name not in able:
            raise NotFoundError(
                f"There is no detector '{name}' for this project: the detectors are {', '.join(able)}."
            )
    return list(dict.fromkeys(wanted))


def _suspicion(
    engine: Engine,
    ledger: Ledger,
    names: Sequence[str],
    labels: NDArray[np.int64],
    wrong: NDArray[np.bool_],
    run: int | None,
    reporter: Reporter,
) -> dict[str, tuple[NDArray[np.floating], float]]:
    """By detector its numbers (N,) and seconds; the model of a run is trained where a detector has not been asked.

    Args:
        run: number of the model that is trained on planted errors; None for the project's own.
    """
    started_from = "own" if run is None else _name_of_start(engine, run)
    files = {name: f"{started_from}-{name}.npz" for name in names}
    missing = [name for name in names if files[name] not in ledger.files]
    model = _model(engine, labels, run, reporter.share(0.0, 0.5)) if missing else None
    others = np.random.default_rng([len(labels), 8]).permutation(np.flatnonzero(~wrong))
    half = min(int(wrong.sum()), LOOKED_AT // 2)
    some = np.random.default_rng([len(labels), 9]).permutation(np.flatnonzero(wrong))[:half]
    looked_at = np.sort(np.concatenate([some, others[: LOOKED_AT - half]])).tolist()
    for number, name in enumerate(missing):
        assert model is not None
        done = 0.5 + 0.5 * number / len(missing)
        suspect = Suspect(
            engine.task,
            model,
            labels,
            engine.facts.head,
            looked_at,
            0,
            engine.device,
            reporter.share(done, done + 0.5 / len(missing)),
        )
        started = time.perf_counter()
        numbers = DETECTORS[name](suspect)
        seconds = time.perf_counter() - started
        keep_arrays(ledger, files[name], numbers=numbers, seconds=np.array(seconds))
    found = {}
    for name, file_name in files.items():
        stored = kept_arrays(ledger, file_name)
        found[name] = (stored["numbers"], float(stored["seconds"]))
    return found


def _name_of_start(engine: Engine, run: int) -> str:
    recipe = TrainingRecipe.of(engine.task)
    return f"seed-{run}-{digest_of_start(engine.task, recipe, run)}"


def _model(engine: Engine, labels: NDArray[np.int64], run: int | None, reporter: Reporter) -> nn.Module:
    task, device = engine.task, torch.device(engine.device)
    if run is None:
        return evaluation_copy(task, device)
    own = engine.project.predictions("train")["label"].to_numpy()
    changed = np.flatnonzero(labels != own)
    changes = DataChanges(labels={int(position): int(labels[position]) for position in changed})
    return retrain(
        task,
        TrainingRecipe.of(task),
        run,
        changes,
        device=device,
        reporter=reporter,
        message=f"Training on planted label errors, seed {run}",
    )
