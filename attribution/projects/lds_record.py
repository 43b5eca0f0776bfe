"""What a project's LDS study measured: ``studies/lds.json`` in the shape that ``tracefix study lds --json`` prints."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attribution.errors import ProjectError

FILE = Path("studies") / "lds.json"


class _Measured(BaseModel):
    # Further fields may come; numbers that are not finite are no measurement.
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class MethodFidelity(_Measured):
    """Linear datamodeling score of one method: mean rank correlation with retraining, -1 to 1, its standard error,
    and the seconds the method took."""

    lds: float = Field(ge=-1, le=1)
    standard_error: float = Field(ge=0)
    seconds: float = Field(ge=0)


class LdsRecord(_Measured):
    """An LDS study: methods by name, on how many subsets with how many seeds each, what retraining itself reaches
    (``ceiling``), and of which model and data it is (`Project.prepared_from`, where it says so)."""

    methods: dict[str, MethodFidelity]
    subsets: int
    seeds: int
    ceiling: float | None = None
    prepared_from: str | None = None


def read_lds(directory: Path, prepared_from: str | None = None) -> LdsRecord | None:
    """The study of a project; None where none was made, or one of another model or of other data.

    Args:
        prepared_from: of the project as it is now; without it any study counts.

    Raises:
        ProjectError: the file is damaged.
    """
    file = directory / FILE
    try:
        record = LdsRecord.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        raise ProjectError(f"'{file}' is damaged: run the study again, or delete the file.") from error
    known = record.prepared_from is not None and prepared_from is not None
    return None if known and record.prepared_from != prepared_from else record
