"""One fix as a page that can be mailed: it needs no network, no script and no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.fixing import explanation_of
from attribution.progress import SILENT, Reporter
from attribution.projects import FixRecord
from dashboard.report.page import page_of

if TYPE_CHECKING:
    from attribution.engine import Engine

__all__ = ["page_of", "report_of"]


def report_of(engine: Engine, fix: FixRecord, *, reporter: Reporter = SILENT) -> str:
    """The page of a fix, with the explanation that the fix was chosen by.

    Raises:
        As `Engine.explain`.
    """
    return page_of(engine.project, fix, explanation_of(engine, fix, reporter))
