"""What `tracefix new` finds out about how a transformers model was trained: checkpoints, learning rates, optimizer."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from attribution.errors import NotFoundError, ProjectError
from attribution.projects.files import expanded
from attribution.projects.manifest import (
    CheckpointRecord,
    Manifest,
    ModelRecord,
    TrainingRecord,
    TransformersSource,
)
from attribution.sources.trainer_folder import OPTIMIZER, STATE, WEIGHTS, checkpoint_folders, sharded_by

if TYPE_CHECKING:
    from attribution.sources.trainer_run import TrainerRun


def model_folder(given: Path, run: list[Path]) -> Path:
    """The folder that the model is loaded from: the given one, or the last checkpoint in it.

    Raises:
        ProjectError: there is no model in either.
    """
    if (given / "config.json").is_file():
        return given
    inside = [folder for folder in run if folder.parent == given and (folder / "config.json").is_file()]
    if inside:
        return inside[-1]
    raise ProjectError(
        f"'{given}' is not a transformers checkpoint (it has no config.json), nor does it hold a Trainer's "
        "checkpoint-STEP folders: save the model with model.save_pretrained(folder)."
    )


def matching(pattern: str, option: str) -> list[Path]:
    """The files and folders that the glob of an option names.

    Raises:
        NotFoundError: there are none.
    """
    matches = sorted(Path(match).absolute() for match in glob.glob(str(expanded(pattern))))  # noqa: PTH207
    if not matches:
        raise NotFoundError(
            f"No file or folder matches {option} '{pattern}': quote the pattern and check it."
        )
    return matches


def record_training(
    manifest: Manifest, model: Path, found: Iterable[Path], recorded: Callable[[Path], str], examples: int
) -> None:
    """Write into the manifest the checkpoints, and what the Trainer left beside them of how they were trained.

    The step of a checkpoint is the last number of its name (``checkpoint-500``). Without a record of the Trainer
    every checkpoint counts the same, and the optimizer is unknown. Checkpoints after the one that the model itself is
    (the best one, if the Trainer was to load it in the end) did not make this model and are left out.

    Args:
        model: the folder that the model is loaded from.
        found: folders that hold ``model.safetensors``, or safetensors files.
        recorded: turns a path into how the manifest names it.
        examples: number of training examples.

    Raises:
        ProjectError: a checkpoint has no weights or no step, or a record is damaged.
    """
    weights = sorted((_step(match), _weights(match)) for match in found)
    weights = weights[: _position_of(model / WEIGHTS, [file for _, file in weights]) + 1]
    if not weights:
        manifest.training = TrainingRecord(optimizer="unknown")
        return
    run = _run([file.parent for _, file in weights], examples)
    manifest.checkpoints = [
        CheckpointRecord(
            path=recorded(file),
            learning_rate=1.0 if run is None else run.rate(step),
            step=step,
            second_moments=recorded(file.parent / OPTIMIZER)
            if _has_second_moments(file.parent, run)
            else None,
        )
        for step, file in weights
    ]
    manifest.training = TrainingRecord(optimizer="unknown") if run is None else run.record()
    if run is not None and run.state is not None and isinstance(manifest.source, TransformersSource):
        manifest.source.trained = _trained(weights[0][1], weights[-1][1], run.state.parameters)


def record_ensemble(
    manifest: Manifest, folders: Iterable[Path], recorded: Callable[[Path], str], examples: int
) -> None:
    """Write into the manifest further models, trained the same way, each with what is found of its own run.

    Args:
        folders: saved models, or output folders of the Trainer.
        recorded, examples: as in `record_training`.

    Raises:
        ProjectError: a folder holds no model, or its record is damaged.
    """
    for given in folders:
        run = checkpoint_folders(given)
        folder = model_folder(given, run)
        other = manifest.model_copy(deep=True, update={"checkpoints": []})
        record_training(other, folder, run, recorded, examples)
        manifest.ensemble.append(ModelRecord(path=recorded(_weights(folder)), checkpoints=other.checkpoints))


def training_summary(manifest: Manifest) -> str:
    """What is known of the training run, in a sentence or two; empty where nothing is."""
    if not manifest.checkpoints:
        return ""
    steps = ", ".join(str(checkpoint.step) for checkpoint in manifest.checkpoints)
    optimizer = manifest.training.optimizer
    if optimizer == "unknown":
        return (
            f"Checkpoints at steps {steps}; how they were trained is not known (no optimizer.pt of SGD or Adam beside "
            "them, or no learning rate in the log), so that source cannot run, and path can."
        )
    words = f"Checkpoints at steps {steps} of a run with {optimizer}"
    if optimizer == "sgd":
        return f"{words}."
    complete = all(checkpoint.second_moments is not None for checkpoint in manifest.checkpoints)
    return f"{words}, with its second moments." if complete else f"{words}, without its second moments."


def _step(match: Path) -> int:
    numbers = re.findall(r"\d+", match.stem if match.is_file() else match.name)
    if not numbers:
        raise ProjectError(
            f"The checkpoint '{match}' has no step number in its name: call it checkpoint-STEP."
        )
    return int(numbers[-1])


def _weights(match: Path) -> Path:
    weights = match / WEIGHTS if match.is_dir() else match
    if weights.suffix == ".safetensors" and weights.is_file():
        return weights
    sharded = sharded_by(match) if match.is_dir() else None
    if sharded is not None:
        raise ProjectError(
            f"The checkpoint '{match}' holds its weights in {sharded[0]}'s own parts: put them together in its "
            f"{WEIGHTS} ({sharded[1]})."
        )
    raise ProjectError(
        f"The checkpoint '{match}' has no safetensors weights: save it with save_pretrained or safetensors, or name "
        "those that have with --checkpoints."
    )


def _position_of(model: Path, weights: list[Path]) -> int:
    """Which of the checkpoints the model itself is; the last where it is none of them."""
    from attribution.sources.tensor_files import differing

    last = len(weights) - 1
    if model in weights or not model.is_file():
        return weights.index(model) if model in weights else last
    for number in range(last, -1, -1):
        if next(differing(model, weights[number]), None) is None:
            return number
    return last


def _run(folders: list[Path], examples: int) -> TrainerRun | None:
    """What the Trainer recorded of the run, as far as the last checkpoint with a record."""
    from attribution.sources.trainer_run import read_run

    recorded = [folder for folder in folders if (folder / STATE).is_file()]
    return read_run(recorded[-1], examples) if recorded else None


def _has_second_moments(folder: Path, run: TrainerRun | None) -> bool:
    from attribution.sources.optimizer_state import OptimizerState

    if run is None or not (folder / OPTIMIZER).is_file():
        return False
    return OptimizerState.read(folder / OPTIMIZER).has_second_moments


def _trained(first: Path, last: Path, parameters: int) -> list[str]:
    """Names of the trained parameters where a part of the model was frozen; empty where all of it was trained.

    The optimizer says how many were trained, and which they are is what differs between two checkpoints.
    """
    from attribution.sources.tensor_files import differing, names

    if parameters >= sum(not _is_statistic(name) for name in names(last)):
        return []
    changed = [name for name in differing(first, last) if not _is_statistic(name)]
    return changed if len(changed) == parameters else []


def _is_statistic(name: str) -> bool:
    """Whether a tensor is a running statistic of a normalisation layer, and no parameter."""
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))
