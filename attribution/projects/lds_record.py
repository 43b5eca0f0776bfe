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
    """An LDS study: methods by name, on how many subsets with how many seeds each, and what retraining itself reaches
    (``ceiling``)."""

    methods: dict[str, MethodFidelity]
    subsets: int
    seeds: int
    ceiling: float | None = None


def read_lds(directory: Path) -> LdsRecord | None:
    """The study of a project; None where none was made.

    Raises:
        ProjectError: the file is damaged.
    """
    file = directory / FILE
    try:
        return LdsRecord.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        raise ProjectError(f"'{file}' is damaged: run the study again, or delete the file.") from error
