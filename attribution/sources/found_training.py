"""What `tracefix new` finds out about how a transformers model was trained: checkpoints, learning rates, optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attribution.errors import ProjectError
from attribution.projects.manifest import (
    CheckpointRecord,
    Manifest,
    ModelRecord,
    TrainingRecord,
    TransformersSource,
)
from attribution.sources.checkpoint_list import PICKLED, CheckpointFile, CheckpointList, in_order
from attribution.sources.trainer_folder import OPTIMIZER, STATE, WEIGHTS, checkpoint_folders

if TYPE_CHECKING:
    from attribution.sources.optimizer_state import OptimizerState
    from attribution.sources.trainer_run import TrainerRun


def model_folder(given: Path, run: Sequence[CheckpointFile]) -> Path:
    """The folder that the model is loaded from: the given one, or the last checkpoint in it.

    Raises:
        ProjectError: there is no model in either.
    """
    if (given / "config.json").is_file() or (given / "adapter_config.json").is_file():
        return given  # an adapter alone is no model: loading it says so
    folders = [file.path.parent for file in run]
    inside = [folder for folder in folders if folder.parent == given and (folder / "config.json").is_file()]
    if inside:
        return inside[-1]
    raise ProjectError(
        f"'{given}' is not a transformers checkpoint (it has no config.json), nor does it hold a Trainer's "
        "checkpoint-STEP folders: save the model with model.save_pretrained(folder)."
    )


def record_training(
    manifest: Manifest, model: Path, found: CheckpointList, recorded: Callable[[Path], str], examples: int
) -> None:
    """Write into the manifest the checkpoints, and what is found beside and in them of how they were trained.

    Of learning rates and optimizer a list of the user's counts first, then what the Trainer recorded, then what a
    ``torch.save`` file holds. Without any learning rate every checkpoint counts the same, and the optimizer is unknown.
    Checkpoints after the one that the model itself is (the best one, if the Trainer was to load it in the end) did not
    make this model and are left out.

    Args:
        model: the folder that the model is loaded from.
        found: weight files in order.
        recorded: turns a path into how the manifest names it.
        examples: number of training examples.

    Raises:
        ProjectError: a checkpoint has no step or no learning rate where others have one, or a record is damaged.
    """
    files = _with_steps(found.files)
    files = files[: _position_of(model / WEIGHTS, [file.path for file in files]) + 1]
    if not files:
        manifest.training = TrainingRecord(optimizer="unknown")
        return
    run = _run([file.path.parent for file in files], examples)
    state = _state_inside(files[-1].path)
    rates = [_rate(file, found.training, run) for file in files]
    manifest.checkpoints = [
        CheckpointRecord(
            path=recorded(file.path),
            learning_rate=1.0 if rate is None else rate,
            step=int(file.step or 0),
            second_moments=None if moments is None else recorded(moments),
        )
        for file, rate in zip(files, _all_or_none(rates, files), strict=True)
        for moments in [_second_moments(file.path, run, state)]
    ]
    known = [rate for rate in rates if rate is not None]
    manifest.training = found.training or _record(run, state, max(known, default=None))
    if run is not None and run.state is not None and isinstance(manifest.source, TransformersSource):
        manifest.source.trained = _trained(files[0].path, files[-1].path, run.state.parameters)


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
        run = in_order(checkpoint_folders(given))
        folder = model_folder(given, run)
        weights = folder / WEIGHTS
        if not weights.is_file():
            raise ProjectError(f"'{folder}' has no safetensors weights: save it with save_pretrained.")
        other = manifest.model_copy(deep=True, update={"checkpoints": []})
        record_training(other, folder, CheckpointList(run), recorded, examples)
        manifest.ensemble.append(ModelRecord(path=recorded(weights), checkpoints=other.checkpoints))


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


def _with_steps(files: list[CheckpointFile]) -> list[CheckpointFile]:
    if not any(_is_pickled(file.path) for file in files):
        return files  # their names say it; no need to import torch
    from attribution.sources.checkpoint_files import with_steps

    return with_steps(files)


def _rate(file: CheckpointFile, training: TrainingRecord | None, run: TrainerRun | None) -> float | None:
    if file.learning_rate is not None:
        return file.learning_rate
    if run is not None and file.step is not None:
        return run.rate(file.step)
    return None if training is None else training.learning_rate


def _all_or_none(rates: Sequence[float | None], files: Sequence[CheckpointFile]) -> Sequence[float | None]:
    known = [rate for rate in rates if rate is not None]
    if known and len(known) < len(rates):
        raise ProjectError(
            f"The learning rate of '{files[rates.index(None)].path}' is not known, and that of others is: give a list "
            "with path, step and learning_rate of every checkpoint."
        )
    return rates


def _state_inside(file: Path) -> OptimizerState | None:
    """The optimizer's state in a file that holds weights, too."""
    if not _is_pickled(file):
        return None
    from attribution.sources.optimizer_state import OptimizerState
    from attribution.sources.weight_files import read_weight_file

    content = read_weight_file(file).optimizer
    return None if content is None else OptimizerState.of(file, content)


def _record(run: TrainerRun | None, state: OptimizerState | None, rate: float | None) -> TrainingRecord:
    if run is not None:
        return run.record()
    record = TrainingRecord(optimizer="unknown", learning_rate=rate)
    if state is None or rate is None:
        return record
    record.optimizer = state.optimizer
    record.momentum, record.weight_decay = state.momentum, state.weight_decay
    if record.optimizer in ("adam", "adamw"):
        record.betas, record.epsilon = state.betas, state.epsilon
    return record


def _second_moments(file: Path, run: TrainerRun | None, state: OptimizerState | None) -> Path | None:
    """The file that holds Adam's second moments of a checkpoint: beside it, or itself."""
    if state is not None:
        return file if state.has_second_moments else None
    from attribution.sources.optimizer_state import OptimizerState

    beside = file.parent / OPTIMIZER
    if run is None or not beside.is_file():
        return None
    return beside if OptimizerState.read(beside).has_second_moments else None


def _is_pickled(file: Path) -> bool:
    return file.suffix.lower() in PICKLED


def _position_of(model: Path, weights: list[Path]) -> int:
    """Which of the checkpoints the model itself is; the last where it is none of them."""
    from attribution.sources.tensor_files import differing

    last = len(weights) - 1
    if any(_is_pickled(file) for file in weights):
        return last
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


def _trained(first: Path, last: Path, parameters: int) -> list[str]:
    """Names of the trained parameters where a part of the model was frozen; empty where all of it was trained.

    The optimizer says how many were trained, and which they are is what differs between two checkpoints.
    """
    from attribution.sources.tensor_files import differing, names

    if _is_pickled(first) or _is_pickled(last):
        return []
    if parameters >= sum(not _is_statistic(name) for name in names(last)):
        return []
    changed = [name for name in differing(first, last) if not _is_statistic(name)]
    return changed if len(changed) == parameters else []


def _is_statistic(name: str) -> bool:
    """Whether a tensor is a running statistic of a normalisation layer, and no parameter."""
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))
