"""One fix as a page that can be mailed: it needs no network, no script and no server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attribution.errors import MissingRequirementError
from attribution.fixing import explanation_of
from attribution.progress import SILENT, Reporter
from attribution.projects import FixRecord
from dashboard.report.page import page_of
from dashboard.views.saliency import looked_at

if TYPE_CHECKING:
    from attribution.engine import Engine

__all__ = ["page_of", "report_of"]


def report_of(engine: Engine, fix: FixRecord, *, reporter: Reporter = SILENT) -> str:
    """The page of a fix, with the explanation that the fix was chosen by and what the model looked at.

    Raises:
        As `Engine.explain` and `Engine.saliency`.
    """
    explanation = explanation_of(engine, fix, reporter.share(0.0, 0.8))
    return page_of(engine.project, fix, explanation, _looked_at(engine, fix, reporter.share(0.8, 1.0)))


def _looked_at(engine: Engine, fix: FixRecord, reporter: Reporter) -> dict[str, Any] | None:
    """What the model looked at before the fix; None of a group, and of inputs whose parts cannot be shown."""
    if len(fix.test_ids) > 1:
        return None
    example = engine.project.example("test", fix.test_id)
    measurement = "margin" if ".py:" in fix.measurement else fix.measurement
    try:
        found = engine.saliency(fix.test_id, measurement=measurement, base=fix.base, reporter=reporter)
    except MissingRequirementError:
        return None
    shown = example | {"true": fix.true, "predicted": fix.before.predicted}
    return looked_at(found, str(example["input"]), shown)
