"""What a project's LDS study measured: ``studies/lds.json`` in the shape that ``tracefix study lds --json`` prints."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from attribution.projects.study_records import Measured, StudyRecord, read_study

FILE = Path("studies") / "lds.json"


class MethodFidelity(Measured):
    """Linear datamodeling score of one method: mean rank correlation with retraining, -1 to 1, its standard error,
    and the seconds the method took."""

    lds: float = Field(ge=-1, le=1)
    standard_error: float = Field(ge=0)
    seconds: float = Field(ge=0)


class LdsRecord(StudyRecord):
    """An LDS study: methods by name, on how many subsets with how many seeds each, and what retraining itself reaches
    (``ceiling``)."""

    methods: dict[str, MethodFidelity]
    subsets: int
    seeds: int
    ceiling: float | None = None


def read_lds(directory: Path, prepared_from: str | None = None) -> LdsRecord | None:
    """The study of a project; None where none was made, or one of another model or of other data.

    Args:
        prepared_from: of the project as it is now; without it any study counts.

    Raises:
        ProjectError: the file is damaged.
    """
    return read_study(FILE, LdsRecord, directory, prepared_from)


def lds_stamp(directory: Path) -> int:
    """Changes with every study of a project: what was said of its fidelity before is then out of date."""
    try:
        return (directory / FILE).stat().st_mtime_ns
    except OSError:
        return 0
