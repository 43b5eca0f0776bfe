"""Which files are the checkpoints of a training run: a pattern, or a list with steps and learning rates.

A list is a CSV file with the columns ``path,step,learning_rate``, or a JSON file: rows with the same keys, or an object
with the rows under ``checkpoints`` beside what is known of the run (``{"optimizer": "sgd", "momentum": 0.9, …}``, the
fields of `TrainingRecord`). Its paths start at the list's own folder. Looked at without importing torch.
"""

from __future__ import annotations

import csv
import glob
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from attribution.errors import NotFoundError, ProjectError
from attribution.projects.files import expanded, is_file
from attribution.projects.manifest import TrainingRecord
from attribution.sources.trainer_folder import WEIGHTS, sharded_by

PICKLED = frozenset({".pt", ".pth", ".ckpt", ".bin"})
"""Suffixes of files that ``torch.save`` writes."""

_LISTS = frozenset({".csv", ".json"})
_KEYS = frozenset({"path", "step", "learning_rate"})
_IN_FOLDERS = (WEIGHTS, "pytorch_model.bin")


@dataclass(frozen=True)
class CheckpointFile:
    """A weight file of the run.

    Args:
        path: of the file, absolute.
        step: optimizer steps taken before; None where only the file itself may say it.
        learning_rate: None where nothing beside the file says it.
    """

    path: Path
    step: int | None
    learning_rate: float | None = None


@dataclass(frozen=True)
class CheckpointList:
    """The checkpoints of a run in the order of their steps, and what a list says of the run (else None)."""

    files: list[CheckpointFile] = field(default_factory=list)
    training: TrainingRecord | None = None


def checkpoint_list(given: str, option: str = "--checkpoints") -> CheckpointList:
    """The checkpoints that a pattern or a list file names.

    Args:
        given: a pattern of checkpoint folders or weight files, or the path of a list.
        option: what the user called it, for messages.

    Raises:
        NotFoundError: nothing matches.
        ProjectError: a match has no weights or no step, or the list is damaged.
    """
    path = expanded(given).absolute()
    if path.suffix.lower() in _LISTS and is_file(path):
        return _listed(path)
    return CheckpointList(in_order(matching(given, option)))


def matching(pattern: str, option: str) -> list[Path]:
    """The files and folders that a pattern names.

    Raises:
        NotFoundError: there are none.
    """
    matches = sorted(Path(match).absolute() for match in glob.glob(str(expanded(pattern))))  # noqa: PTH207
    if not matches:
        raise NotFoundError(
            f"No file or folder matches {option} '{pattern}': quote the pattern and check it."
        )
    return matches


def in_order(found: Iterable[Path]) -> list[CheckpointFile]:
    """Weight files of checkpoint folders or files, by the step in their names.

    Raises:
        ProjectError: one has no weights, or no step in its name and cannot say it itself; or two are of one step.
    """
    return sorted_by_step(_checkpoint_file(match) for match in found)


def sorted_by_step(files: Iterable[CheckpointFile]) -> list[CheckpointFile]:
    """The files by their steps; files without one stay as they are, for whoever looks into them.

    Raises:
        ProjectError: two are of one step.
    """
    known = list(files)
    counted = Counter(file.step for file in known if file.step is not None)
    for step, count in counted.items():
        if count > 1:
            first, second = [file.path for file in known if file.step == step][:2]
            raise ProjectError(
                f"'{first}' and '{second}' are both of step {step}: narrow the pattern, or give a list with path, step "
                "and learning_rate."
            )
    return sorted(known, key=lambda file: -1 if file.step is None else file.step)


def step_in_name(name: str) -> int | None:
    """The number after ``step`` or ``checkpoint`` in a name, else its last whole number; None without one."""
    said = _said_step(name)
    numbers = re.findall(r"(?<![\d.])\d+(?!\.?\d)", name)
    return said if said is not None else int(numbers[-1]) if numbers else None


def _said_step(name: str) -> int | None:
    for word in ("step", "checkpoint"):  # Lightning's epoch=3-step=1200.ckpt in a folder called checkpoints
        said = re.findall(word + r"s?[=_\-]*(\d+)", name, flags=re.IGNORECASE)
        if said:
            return int(said[-1])
    return None


def _checkpoint_file(match: Path, step: int | None = None, rate: float | None = None) -> CheckpointFile:
    weights = _weights(match)
    if step is not None:
        return CheckpointFile(weights, step, rate)
    name = match.name if match.is_dir() else match.name.removesuffix(match.suffix)
    if weights.suffix.lower() in PICKLED:  # which may know better than a number that could be an epoch
        return CheckpointFile(weights, _said_step(name), rate)
    found = step_in_name(name)
    if found is None and match.is_file():  # checkpoint-500/model.safetensors
        found = step_in_name(match.parent.name)
    if found is None:
        raise ProjectError(
            f"The checkpoint '{match}' has no step number in its name: call it checkpoint-STEP, or give a list with "
            "path, step and learning_rate."
        )
    return CheckpointFile(weights, found, rate)


def _weights(match: Path) -> Path:
    inside = [match / name for name in _IN_FOLDERS] if match.is_dir() else [match]
    for weights in inside:
        if weights.suffix.lower() in {".safetensors", *PICKLED} and weights.is_file():
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


def _listed(file: Path) -> CheckpointList:
    try:
        text = file.read_text(encoding="utf-8-sig")
        document = (
            json.loads(text) if file.suffix.lower() == ".json" else list(csv.DictReader(text.splitlines()))
        )
    except (OSError, ValueError, csv.Error) as error:
        raise ProjectError(f"The list '{file}' cannot be read ({error}): mend or replace it.") from error
    training = None
    if isinstance(document, dict):
        rest = {name: value for name, value in document.items() if name != "checkpoints"}
        training = _training(rest, file)
        document = document.get("checkpoints")
    if not isinstance(document, list) or not document:
        raise ProjectError(
            f"The list '{file}' names no checkpoints: give rows with path, step and learning_rate."
        )
    files = [_row(row, number, file) for number, row in enumerate(document, start=1)]
    return CheckpointList(sorted_by_step(files), training)


def _training(said: Mapping[str, Any], file: Path) -> TrainingRecord | None:
    if not said:
        return None
    try:
        return TrainingRecord.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        raise ProjectError(
            f"'{'.'.join(map(str, first['loc']))}' in the list '{file}' is wrong ({first['msg']}): its fields beside "
            f"'checkpoints' are {', '.join(TrainingRecord.model_fields)}."
        ) from error


def _row(row: Any, number: int, file: Path) -> CheckpointFile:
    if not isinstance(row, dict) or not row.get("path"):
        raise ProjectError(
            f"Row {number} of the list '{file}' has no path: give path, step and learning_rate."
        )
    unknown = sorted(str(name) for name in row.keys() - _KEYS)
    if unknown:
        raise ProjectError(
            f"Row {number} of the list '{file}' has '{unknown[0]}': the columns are path, step and learning_rate."
        )
    given = file.parent / expanded(str(row["path"]))
    if not given.exists():
        raise NotFoundError(f"Row {number} of the list '{file}': there is no file or folder '{given}'.")
    step = _number(row.get("step"), "step", number, file)
    rate = _number(row.get("learning_rate"), "learning_rate", number, file)
    if step is not None and not step.is_integer():
        raise ProjectError(f"Row {number} of the list '{file}' has the step {step}: give a whole number.")
    return _checkpoint_file(given.absolute(), None if step is None else int(step), rate)


def _number(value: Any, name: str, row: int, file: Path) -> float | None:
    if value in (None, ""):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ProjectError(
            f"Row {row} of the list '{file}' has the {name} '{value}': give a number that is not negative."
        )
    return number
