"""What to know of a project before work starts: whether model and data fit each other, and what preparing will take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.lazy import lazily

if TYPE_CHECKING:
    from attribution.checking.check import check_project, quick_check
    from attribution.checking.finding import CheckReport, Finding

_HOME = {
    "check_project": "attribution.checking.check",
    "quick_check": "attribution.checking.check",
    "CheckReport": "attribution.checking.finding",
    "Finding": "attribution.checking.finding",
}

__all__ = ["CheckReport", "Finding", "check_project", "quick_check"]

__getattr__ = lazily(__name__, _HOME)
