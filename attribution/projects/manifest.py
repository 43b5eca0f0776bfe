"""`project.json`: what a project is made of. Read and checked without importing torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attribution.errors import ProjectError

FORMAT = 1
FILE_NAME = "project.json"

FRESH = "fresh"
"""What `TransformersSource.initial` says where training started from random weights."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TransformersSource(_Strict):
    """A transformers checkpoint folder with one table per split; relative paths start at the project directory."""

    kind: Literal["transformers"] = "transformers"
    model: str
    train: str
    test: str
    text_column: str | None = None
    pair_column: str | None = None
    """The second part of each text, where the model compares two (a premise and a hypothesis)."""
    image_column: str | None = None
    label_column: str = "label"
    id_column: str | None = None
    trained: list[str] = Field(default_factory=list)
    """Name prefixes of the parameters that were trained; empty means all of them."""
    max_tokens: int = 128
    initial: str | None = None
    """What training started from: ``fresh`` for random weights, or the folder of the pre-trained model (what it lacks
    is random). Retraining then begins there; nothing else depends on it."""


class TaskSource(_Strict):
    """A Python function that returns a `Task`; it may take the project directory as its one argument."""

    kind: Literal["task"] = "task"
    file: str
    function: str


class CheckpointRecord(_Strict):
    """A stored point of the training run (a safetensors file)."""

    path: str
    learning_rate: float
    step: int
    second_moments: str | None = None
    """Adam's second moments: a safetensors file by parameter name, or the ``optimizer.pt`` of a Trainer."""


class ModelRecord(_Strict):
    """A further model, trained the same way from another seed (a safetensors file), and its run."""

    path: str
    checkpoints: list[CheckpointRecord] = Field(default_factory=list)


class TrainingRecord(_Strict):
    """How the model was trained; None where unknown."""

    optimizer: Literal["sgd", "adam", "adamw", "unknown"] = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 64
    learning_rate: float | None = None
    steps: int | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    learning_rates: dict[int, float] = Field(default_factory=dict)
    """Learning rate by step, as far as a log has it; linear in between."""


class Manifest(_Strict):
    """Everything `project.json` says."""

    format: int = FORMAT
    name: str
    title: str
    summary: str = ""
    sample: str | None = None
    """Name of the bundled sample this project was made from, if any."""
    source: Annotated[TransformersSource | TaskSource, Field(discriminator="kind")]
    after: str | None = None
    """Directory of the project whose final model this training started from."""
    checkpoints: list[CheckpointRecord] = Field(default_factory=list)
    training: TrainingRecord = Field(default_factory=TrainingRecord)
    ensemble: list[ModelRecord] = Field(default_factory=list)

    def every_checkpoint(self) -> list[CheckpointRecord]:
        """The checkpoints of all models."""
        return [*self.checkpoints, *(c for model in self.ensemble for c in model.checkpoints)]


def read_manifest(directory: Path) -> Manifest:
    """Read and check ``directory/project.json``.

    Raises:
        ProjectError: not a project, unreadable, or written by a newer version.
    """
    file = directory / FILE_NAME
    if not directory.is_dir():
        raise ProjectError(
            f"No project at '{directory}': give the directory of a project, or the name of a sample "
            "(tracefix demo lists them)."
        )
    if not file.is_file():
        raise ProjectError(
            f"'{directory}' is not a Tracefix project (it has no {FILE_NAME}): make one with tracefix new."
        )
    try:
        manifest = Manifest.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError) as error:
        detail = _first_problem(error)
        raise ProjectError(
            f"'{file}' is damaged ({detail}): restore it, or delete the project directory and make it again."
        ) from error
    except OSError as error:
        raise ProjectError(f"'{file}' cannot be read ({error.strerror}): check its permissions.") from error
    if manifest.format > FORMAT:
        raise ProjectError(
            f"'{directory}' was written by a newer Tracefix (format {manifest.format}): update Tracefix to open it."
        )
    return manifest


def _first_problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        return f"{where}: {first['msg']}"
    return str(error)
