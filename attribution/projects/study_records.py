"""What studies of a project measured, as read from its ``studies`` folder: fading, label errors, correction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attribution.errors import ProjectError

BELIEVABLE = 0.5
"""Pearson correlation down to which scores count as foretelling what happens."""


class Measured(BaseModel):
    """Numbers of a study. Further fields may come; numbers that are not finite are no measurement."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class StudyRecord(Measured):
    """A study, and of which model and data it is (`Project.prepared_from`, where it says so)."""

    prepared_from: str | None = None


class Foresight(Measured):
    """Pearson correlation of a method's scores with real effects after each look, with its standard error."""

    pearson: list[float]
    standard_error: list[float]


class FadingRecord(StudyRecord):
    """Foresight by method after ``steps`` further steps of training, and the last one up to which it holds."""

    steps: list[int] = Field(min_length=1)
    methods: dict[str, Foresight]
    holds_until: dict[str, int | None]
    measurement: str = "margin"
    train_ids: list[str] = Field(default_factory=list)
    test_ids: list[str] = Field(default_factory=list)


class Detection(Measured):
    """Area under the ROC curve of a detector of label errors, its standard error, and seconds per model."""

    auc: float = Field(ge=0, le=1)
    standard_error: float = Field(ge=0)
    seconds: float = Field(ge=0)


class MislabelRecord(StudyRecord):
    """Detectors by name, how many labels were wrong in each model, and whether these were planted for the study."""

    detectors: dict[str, Detection]
    wrong: list[int]
    planted: bool


class Correction(Measured):
    """Fixes by one strategy with examples by one choice: rates, means, and their standard errors."""

    success: float
    median_steps: float | None = None
    accuracy_change: float
    accuracy_change_standard_error: float | None = None
    newly_fixed: float
    newly_broken: float
    newly_broken_standard_error: float | None = None
    broken_per_fixed: float | None = None


class CorrectionRecord(StudyRecord):
    """Corrections by strategy and choice of examples, of so many mispredictions."""

    strategies: dict[str, dict[str, Correction]]
    mispredictions: int


_Record = TypeVar("_Record", bound=StudyRecord)

FADING, MISLABELS, CORRECTION = (
    Path("studies") / f"{name}.json" for name in ("fading", "mislabels", "correction")
)


def read_study(
    file: Path, kind: type[_Record], directory: Path, prepared_from: str | None = None
) -> _Record | None:
    """A study of a project; None where none was made, or one of another model or of other data.

    Args:
        file: relative to ``directory``, the project's.
        prepared_from: of the project as it is now; without it any study counts.

    Raises:
        ProjectError: the file is damaged.
    """
    place = directory / file
    try:
        record = kind.model_validate(json.loads(place.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        raise ProjectError(f"'{place}' is damaged: run the study again, or delete the file.") from error
    known = record.prepared_from is not None and prepared_from is not None
    return None if known and record.prepared_from != prepared_from else record
