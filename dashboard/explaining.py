"""Explanations and fixes as background jobs: what is asked, and the work that answers it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attribution.errors import TracefixError
from attribution.fixing import FixSettings
from attribution.methods import ProjectFacts, availability, default_method, list_methods
from attribution.progress import Reporter
from attribution.projects import Edit
from attribution.projects.access import check_may_change
from attribution.projects.lds_record import lds_stamp
from dashboard.current import Opened
from dashboard.engines import WORK_LANE, engine_shelf, job_queue
from dashboard.function_files import confirmed_functions, function_file, is_function
from dashboard.jobs import Interim, Job
from dashboard.state import listed, parameter

if TYPE_CHECKING:
    from attribution.comparison import Comparison
    from attribution.explanation import Explanation
    from attribution.projects import FixRecord


@dataclass(frozen=True)
class Question:
    """What an explanation explains, and how.

    Args:
        awaiting: a measurement that the link asks for and the user has to confirm first: it stays in links.
        ensemble: whether scores are averaged over all models of the project.
        others: further test examples that are explained and fixed together with it.
        base: the fix on top of which the example is to be fixed; explanations are of the original model all the same.
    """

    example_id: str
    method: str
    measurement: str
    awaiting: str | None = None
    ensemble: bool = False
    others: tuple[str, ...] = ()
    base: str | None = None

    @classmethod
    def of_fix(cls, fix: FixRecord) -> Question:
        """The question that a fix came from."""
        return cls(fix.test_id, fix.method, fix.measurement, others=tuple(fix.test_ids[1:]), base=fix.base)

    @property
    def example_ids(self) -> list[str]:
        """All test examples that it is about."""
        return [self.example_id, *self.others]

    @property
    def page(self) -> str:
        """Where it is answered."""
        return "group" if self.others else "investigate"

    @property
    def subject(self) -> str:
        """What it is about, in a few words."""
        return f"{len(self.example_ids)} test examples" if self.others else f"test example {self.example_id}"

    def parameters(self, opened: Opened) -> dict[str, str | None]:
        """The URL parameters that ask the same; defaults are left out."""
        return {
            "project": opened.reference,
            "example": None if self.others else self.example_id,
            "examples": listed(self.example_ids) if self.others else None,
            "method": None if self.method == default_method(ProjectFacts.of(opened.project)) else self.method,
            "measurement": self.awaiting or (None if self.measurement == "margin" else self.measurement),
            "ensemble": "yes" if self.ensemble else None,
            "base": self.base,
        }

    def measured(self, opened: Opened) -> Hashable:
        """Equal where example, measurement and models are, and what is known of how far to believe methods: a function
        file counts by its content."""
        function = is_function(self.measurement) and function_file(self.measurement, opened.project.directory)
        fidelity = lds_stamp(opened.project.directory)
        return opened.key, tuple(self.example_ids), self.measurement, function, self.ensemble, fidelity


def question_of(opened: Opened, example_id: str, others: Sequence[str] = ()) -> tuple[Question, list[str]]:
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
    usable, awaiting, complaint = _measurement_of(opened, measurement)
    if complaint is not None:
        complaints.append(complaint)
    ensemble = parameter("ensemble") == "yes" and ProjectFacts.of(opened.project).models > 1
    base = parameter("base")
    return Question(example_id, method, usable, awaiting, ensemble, tuple(others), base), complaints


def _measurement_of(opened: Opened, name: str) -> tuple[str, str | None, str | None]:
    """The measurement to use, the one that awaits the user's word, and what is wrong with the name."""
    own = ProjectFacts.of(opened.project).measurements
    classes = opened.project.class_names
    if name in {"margin", "loss", *own} or (name.startswith("logit:") and name[len("logit:") :] in classes):
        return name, None, None
    known = ", ".join(["margin", "loss", *own, "a class's logit"])
    reason = f"choose {known} or FILE.py:FUNCTION."
    if is_function(name):
        try:
            file = function_file(name, opened.project.directory)
        except TracefixError as error:
            reason = str(error)
        else:
            allowed = confirmed_functions().may_run(opened.project, file)
            return (name, None, None) if allowed else ("margin", name, None)
    return "margin", None, f"The measurement '{name}' cannot be used here: {reason} Shown instead: margin."


def explanation_job(opened: Opened, question: Question, *, afresh: bool = False) -> Job:
    """The job that answers the question, started unless it is there already."""
    shelf, confirmed = engine_shelf(), confirmed_functions()
    interim = Interim()

    def show_early(found: Explanation) -> None:
        interim.result = found

    def work(reporter: Reporter) -> Explanation:
        engine = shelf.get(opened, reporter.share(0.0, 0.2))
        reporter(0.2, "Comparing with the training examples")
        return engine.explain_group(
            question.example_ids,
            method=question.method,
            measurement=confirmed.runnable(opened.project, question.measurement),
            ensemble=question.ensemble,
            preliminary=show_early,
            reporter=reporter.share(0.2, 1.0),
        )

    return job_queue().submit(
        work,
        key=("explain", question.measured(opened), question.method),
        kind="explain",
        title=f"Explaining {question.subject}",
        lane=WORK_LANE,
        subject={"project": opened.reference, "example": question.example_id},
        interim=interim,
        afresh=afresh,
    )


def comparison_job(
    opened: Opened, question: Question, methods: Sequence[str], *, afresh: bool = False
) -> Job:
    """The job that explains the question's example by several methods, started unless it is there already."""
    shelf, confirmed = engine_shelf(), confirmed_functions()

    def work(reporter: Reporter) -> Comparison:
        engine = shelf.get(opened, reporter.share(0.0, 0.2))
        measurement = confirmed.runnable(opened.project, question.measurement)
        explanations = []
        for done, method in enumerate(methods):
            share = reporter.share(0.2 + 0.8 * done / len(methods), 0.2 + 0.8 * (done + 1) / len(methods))
            share(0.0, f"Scoring by {method}")
            explanations.append(
                engine.explain(
                    question.example_id,
                    method=method,
                    measurement=measurement,
                    ensemble=question.ensemble,
                    reporter=share,
                )
            )
        from attribution.comparison import compare

        return compare(explanations)

    return job_queue().submit(
        work,
        key=("compare", question.measured(opened), tuple(methods)),
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

    Raises:
        ReadOnlyError: whoever asks may change nothing.
    """
    check_may_change("preview a fix")
    shelf, confirmed = engine_shelf(), confirmed_functions()

    def work(reporter: Reporter) -> str:
        engine = shelf.get(opened, reporter.share(0.0, 0.1))
        measurement = question.measurement
        if not edits:  # otherwise nothing is measured: the name is only written down
            measurement = confirmed.runnable(opened.project, measurement)
        record = engine.fix(
            question.example_ids,
            strategy=settings.strategy,
            edits=list(edits) or None,
            top=settings.top,
            method=question.method,
            measurement=measurement,
            ensemble=question.ensemble,
            steps=settings.steps,
            seed=settings.seed,
            guard=settings.guard,
            base=question.base,
            reporter=reporter.share(0.1, 1.0),
        )
        opened.project.history.save(record.model_copy(update={"note": note}), state="preview")
        return record.fix_id

    chosen = tuple((edit.train_id, edit.action, edit.label) for edit in edits)
    return job_queue().submit(
        work,
        key=("fix", opened.key, question, chosen, settings, note),
        kind="fix",
        title=f"Fixing {question.subject}",
        lane=WORK_LANE,
        subject={"project": opened.reference, "examples": listed(question.example_ids)},
        afresh=True,
    )
