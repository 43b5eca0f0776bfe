"""Checkpoints from files: what is known of them beside the file is completed with what the file itself says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from attribution.errors import NotFoundError, ProjectError
from attribution.projects.files import expanded
from attribution.sources.checkpoint_list import (
    PICKLED,
    CheckpointFile,
    checkpoint_list,
    sorted_by_step,
    step_in_name,
)
from attribution.sources.optimizer_state import OptimizerState
from attribution.sources.trainer_folder import OPTIMIZER, STATE, WEIGHTS
from attribution.sources.trainer_run import TrainerRun, read_run
from attribution.sources.weight_files import (
    WeightFile,
    check_fits,
    prefix_before,
    read_weight_file,
    shapes_in,
    shapes_of,
)
from attribution.task import Checkpoint, Task


def checkpoints_from(
    given: str | Path,
    *,
    learning_rate: float | Callable[[int], float] | None = None,
    prefix: str = "",
    model: nn.Module | None = None,
) -> list[Checkpoint]:
    """The checkpoints that a pattern or a list file names, oldest first; each is read when it is used.

    Args:
        given: a pattern (``runs/step-*.pt``) of weight files or checkpoint folders, or the path of a CSV or JSON list
            with path, step and learning_rate (`attribution.sources.checkpoint_list`). A relative one starts at the
            current directory: in a task file, begin with ``Path(__file__).parent``.
        learning_rate: of all, or of a step; without it what the list, the Trainer's log beside or the file says.
        prefix, model: as in `Checkpoint.from_file`.

    Raises:
        NotFoundError: nothing matches.
        ProjectError: as `Checkpoint.from_file`; the list is damaged, or two checkpoints are of one step.
    """
    files = with_steps(checkpoint_list(str(given), "the pattern").files)
    run = _trainer_run(files)
    checkpoints = []
    for file in files:
        step = file.step or 0
        rate = learning_rate(step) if callable(learning_rate) else learning_rate
        rate = file.learning_rate if rate is None else rate
        rate = run.rate(step) if rate is None and run is not None else rate
        checkpoints.append(
            checkpoint_from(file.path, learning_rate=rate, step=file.step, prefix=prefix, model=model)
        )
    return checkpoints


def checkpoint_from(
    file: str | Path,
    *,
    learning_rate: float | None = None,
    step: int | None = None,
    prefix: str = "",
    model: nn.Module | None = None,
) -> Checkpoint:
    """What `Checkpoint.from_file` does."""
    path = expanded(file).absolute()
    if not path.is_file():
        raise NotFoundError(f"There is no checkpoint '{path}': give an existing file.")
    content = read_weight_file(path)
    step = step if step is not None else _step(path, content)
    rate = learning_rate if learning_rate is not None else content.learning_rate
    if rate is None:
        raise ProjectError(
            f"'{path}' does not say its learning rate: give learning_rate=..., or a list with path, step and "
            "learning_rate."
        )
    moments = None
    if model is not None:
        prefix = prefix or prefix_before(content.tensors, model)
        check_fits(shapes_in(path, prefix), model, f"'{path}'")
        moments = _second_moments(path, content, model)
    return Checkpoint(path, learning_rate=rate, step=step, second_moments=moments, prefix=prefix)


def with_steps(files: Iterable[CheckpointFile]) -> list[CheckpointFile]:
    """The files in order, each with a step: its own, the one it holds, or the last number in its name.

    Learning rates are completed, too, where a file that has to be looked into says them.

    Raises:
        ProjectError: a file is unreadable or has no step, or two are of one step.
    """
    return sorted_by_step([_completed(file) for file in files])


def check_checkpoints(task: Task) -> None:
    """Check that the checkpoints of a task, and of its ensemble, can be put into its model, without loading them.

    Raises:
        ProjectError: a file is missing or damaged, or a checkpoint is of another architecture.
    """
    for checkpoint in [*task.checkpoints, *(c for trained in task.ensemble for c in trained.checkpoints)]:
        given, name = checkpoint.state_dict, f"The checkpoint of step {checkpoint.step}"
        if isinstance(given, str | Path):
            name += f" ('{given}')"
            shapes = shapes_in(given, checkpoint.prefix)
        else:
            shapes = shapes_of(given)
        check_fits(shapes, task.model, name)


def _completed(file: CheckpointFile) -> CheckpointFile:
    if file.path.suffix.lower() not in PICKLED or None not in (file.step, file.learning_rate):
        return file
    content = read_weight_file(file.path)
    step = _step(file.path, content) if file.step is None else file.step
    rate = content.learning_rate if file.learning_rate is None else file.learning_rate
    return replace(file, step=step, learning_rate=rate)


def _step(path: Path, content: WeightFile) -> int:
    step = content.step if content.step is not None else step_in_name(path.name.removesuffix(path.suffix))
    if step is None:
        raise ProjectError(
            f"The checkpoint '{path}' has no step number, neither inside nor in its name: call it step-NUMBER, or give "
            "a list with path, step and learning_rate."
        )
    return step


def _trainer_run(files: list[CheckpointFile]) -> TrainerRun | None:
    """What the Trainer recorded beside the checkpoints, as far as the last of them."""
    recorded = [file.path.parent for file in files if (file.path.parent / STATE).is_file()]
    return read_run(recorded[-1]) if recorded else None


def _second_moments(path: Path, content: WeightFile, model: nn.Module) -> dict[str, Tensor] | None:
    """From the optimizer's state in the file, or in the Trainer's beside it."""
    beside = path.parent / OPTIMIZER
    if content.optimizer is not None:
        state = OptimizerState.of(path, content.optimizer)
    elif path.name == WEIGHTS and beside.is_file():
        state = OptimizerState.read(beside)
    else:
        return None
    try:
        return state.second_moments(model) if state.has_second_moments else None
    except ProjectError as error:
        raise ProjectError(
            f"The optimizer's state in '{state.file}' is not that of the model's trained parameters: freeze what was "
            "frozen in training, or leave model=... out to go without Adam's second moments."
        ) from error
