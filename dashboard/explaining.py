"""Explanations and fixes as background jobs: what is asked, and the work that answers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attribution.fixing import FixSettings
from attribution.methods import ProjectFacts, availability, default_method, list_methods
from attribution.progress import Reporter
from attribution.projects import Edit
from dashboard.current import Opened
from dashboard.engines import WORK_LANE, engine_shelf, job_queue
from dashboard.jobs import Interim, Job
from dashboard.state import parameter

if TYPE_CHECKING:
    from attribution.comparison import Comparison
    from attribution.explanation import Explanation


@dataclass(frozen=True)
class Question:
    """What an explanation explains, and how."""

    example_id: str
    method: str
    measurement: str

    def parameters(self, opened: Opened) -> dict[str, str | None]:
        """The URL parameters that ask the same; defaults are left out."""
        return {
            "project": opened.reference,
            "example": self.example_id,
            "method": None if self.method == default_method(ProjectFacts.of(opened.project)) else self.method,
            "measurement": None if self.measurement == "margin" else self.measurement,
        }


def question_of(opened: Opened, example_id: str) -> tuple[Question, list[str]]:
    """The question the URL asks, and a sentence about each thing it asks for that cannot be had."""
    fallback = default_method(ProjectFacts.of(opened.project))
    reasons = availability(opened.project)
    method = parameter("method") or fallback
    measurement = parameter("measurement") or "margin"
    complaints = []
    if method not in reasons:
        names = ", ".join(info.name for info in list_methods())
        complaints.append(
            f"There is no method '{method}': the methods are {names}. Shown instead: {fallback}."
        )
        method = fallback
    elif reasons[method] is not None:
        complaints.append(
            f"The method '{method}' cannot run here. {reasons[method]} Shown instead: {fallback}."
        )
        method = fallback
    if not known_measurement(measurement, opened.project.class_names):
        # A FILE.py:FUNCTION runs code; a link must not choose it.
        complaints.append(
            f"The measurement '{measurement}' cannot be used here: choose margin, loss or logit. "
            "Shown instead: margin."
        )
        measurement = "margin"
    return Question(example_id, method, measurement), complaints


def known_measurement(name: str, class_names: Sequence[str]) -> bool:
    """Whether the dashboard offers this measurement."""
    return name in {"margin", "loss"} or (name.startswith("logit:") and name[len("logit:") :] in class_names)


def explanation_job(opened: Opened, question: Question, *, afresh: bool = False) -> Job:
    """The job that answers the question, started unless it is there already."""
    shelf = engine_shelf()
    interim = Interim()

    def show_early(found: Explanation) -> None:
        interim.result = found

    def work(reporter: Reporter) -> Explanation:
        engine = shelf.get(opened, reporter.share(0.0, 0.2))
        reporter(0.2, "Comparing with the training examples")
        return engine.explain(
            question.example_id,
            method=question.method,
            measurement=question.measurement,
            preliminary=show_early,
            reporter=reporter.share(0.2, 1.0),
        )

    return job_queue().submit(
        work,
        key=("explain", opened.key, question),
        kind="explain",
        title=f"Explaining example {question.example_id}",
        lane=WORK_LANE,
        subject={"project": opened.reference, "example": question.example_id},
        interim=interim,
        afresh=afresh,
    )


def comparison_job(
    opened: Opened, question: Question, methods: Sequence[str], *, afresh: bool = False
) -> Job:
    """The job that explains the question's example by several methods, started unless it is there already."""
    shelf = engine_shelf()

    def work(reporter: Reporter) -> Comparison:
        engine = shelf.get(opened, reporter.share(0.0, 0.2))
        explanations = []
        for done, method in enumerate(methods):
            share = reporter.share(0.2 + 0.8 * done / len(methods), 0.2 + 0.8 * (done + 1) / len(methods))
            share(0.0, f"Scoring by {method}")
            explanations.append(
                engine.explain(
                    question.example_id, method=method, measurement=question.measurement, reporter=share
                )
            )
        from attribution.comparison import compare

        return compare(explanations)

    return job_queue().submit(
        work,
        key=("compare", opened.key, question.example_id, question.measurement, tuple(methods)),
        kind="compare",
        title=f"Comparing methods on example {question.example_id}",
        lane=WORK_LANE,
        subject={"project": opened.reference, "example": question.example_id},
        afresh=afresh,
    )


def start_fix(
    opened: Opened, question: Question, edits: Sequence[Edit], settings: FixSettings, note: str
) -> Job:
    """Queue a fix with these edits, or with the strategy's suggestion where there are none.

    The job's result is the id of the fix, saved in the project's history as a preview.
    """
    shelf = engine_shelf()

    def work(reporter: Reporter) -> str:
        engine = shelf.get(opened, reporter.share(0.0, 0.1))
        record = engine.fix(
            question.example_id,
            strategy=settings.strategy,
            edits=list(edits) or None,
            top=settings.top,
            method=question.method,
            measurement=question.measurement,
            steps=settings.steps,
            seed=settings.seed,
            reporter=reporter.share(0.1, 1.0),
        )
        opened.project.history.save(record.model_copy(update={"note": note}), state="preview")
        return record.fix_id

    chosen = tuple((edit.train_id, edit.action, edit.label) for edit in edits)
    return job_queue().submit(
        work,
        key=("fix", opened.key, question, chosen, settings, note),
        kind="fix",
        title=f"Fixing example {question.example_id}",
        lane=WORK_LANE,
        subject={"project": opened.reference, "example": question.example_id},
        afresh=True,
    )
