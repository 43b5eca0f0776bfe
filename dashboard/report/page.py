"""A fix as one self-contained HTML page for people who see it for the first time: a story in five steps.

Everything on it is inert: users' texts and class names are escaped, and the page forbids itself scripts and network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attribution.explanation import Explanation
from attribution.fixing import replay_command
from attribution.projects import FixRecord, Project
from dashboard.report.escaping import escape
from dashboard.report.sections import belief, changes, cost, mistake, outcome, reasons
from dashboard.views.accuracy import percent, points
from dashboard.views.fixes import controls_sentence, harm_sentence, steps_sentence, subject
from dashboard.views.stacks import beneath_sentence, stack_sentence

LARGEST = 6_000_000
"""Bytes of a page; pictures are thumbnails and lists are cut, so that mail takes it."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page_of(
    project: Project,
    fix: FixRecord,
    explanation: Explanation | None,
    looked: Mapping[str, Any] | None = None,
) -> str:
    """The page of a fix; without an ``explanation``, the examples behind the mistake are left out.

    Args:
        looked: what the model looked at (`views.saliency.looked_at`), where that is known.

    Raises:
        NotFoundError: the test example or a training example is no longer in the project.
    """
    title = (
        f"Why “{fix.before.predicted}” instead of “{fix.true}”, and what a fix does"
        if len(fix.test_ids) == 1
        else f"Why {len(fix.test_ids)} predictions are wrong, and what a fix does"
    )
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    believed = belief(fix, explanation, project.history.verification(fix.fix_id))
    steps = [
        ("The mistake", "What went wrong", mistake(project, fix, looked)),
        ("The reasons", "Why: the training examples behind it", reasons(fix, explanation, project.kind)),
        ("The fix", "What was changed", changes(project, fix, explanation)),
        ("The effect", "What that did, beside its controls", outcome(fix)),
        ("The proof", "What it cost elsewhere, and how far to believe this", cost(project, fix) + believed),
    ]
    contents = "".join(
        f'<li><a href="#step-{number}"><span class="number">{number}</span>{escape(name)}</a></li>'
        for number, (name, _, _) in enumerate(steps, start=1)
    )
    sections = "".join(
        f'<section id="step-{number}"><h2><span class="number">{number}</span>{escape(heading)}</h2>{body}</section>'
        for number, (_, heading, body) in enumerate(steps, start=1)
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="Tracefix">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<p class="eyebrow">{escape(project.title)} · {escape(subject(fix))}</p>
<h1>{escape(title)}</h1>
<p class="lead"><b>{escape(steps_sentence(fix))}</b> {escape(controls_sentence(fix))}</p>
{_stacked(fix)}
{_harm(fix)}
{_figures(fix)}
</header>
<nav aria-label="Steps"><ol class="steps">{contents}</ol></nav>
{sections}
<section id="recipe"><h2>Recipe, to make it again</h2>{_recipe(project, fix)}</section>
</main>
<footer>
Made with Tracefix from {escape(fix.fix_id)}, {escape(_day(fix))}. This page is one file: it needs no network.
</footer>
</body>
</html>
"""


def _harm(fix: FixRecord) -> str:
    harm = harm_sentence(fix)
    return "" if harm is None else f'<p class="warning"><b>Warning.</b> {escape(harm)}</p>'


def _stacked(fix: FixRecord) -> str:
    """What the fix stands on, and what all of them did together; nothing where it starts from the original model."""
    beneath = beneath_sentence(fix)
    return "" if beneath is None else f"<p>{escape(beneath)} {escape(stack_sentence(fix))}</p>"


def _figures(fix: FixRecord) -> str:
    low, high = fix.accuracy_interval
    figures = [
        *_result(fix),
        (
            "Test accuracy",
            percent(fix.accuracy_after),
            f"{points(fix.accuracy_after - fix.accuracy_before)} (95 %: {points(low)} to {points(high)})",
        ),
        (
            "Other predictions",
            f"{len(fix.newly_fixed):,} fixed, {len(fix.newly_broken):,} broken",
            f"of {sum(line.count for line in fix.per_class):,} test examples",
        ),
    ]
    return (
        '<dl class="figures">'
        + "".join(
            f'<div><dt>{name}</dt><dd>{value}</dd><dd class="muted small">{below}</dd></div>'
            for name, value, below in figures
        )
        + "</dl>"
    )


def _result(fix: FixRecord) -> list[tuple[str, str, str]]:
    after = f"after {fix.steps} step{'s' if fix.steps != 1 else ''}"
    if len(fix.test_ids) > 1:
        first, last = fix.probability_per_step[0], fix.probability_per_step[-1]
        return [
            ("Predicted right now", f"{fix.fixed_count} of {len(fix.test_ids)}", "all were wrong before"),
            ("Mean probability of the true class", f"{percent(first.true)} → {percent(last.true)}", after),
        ]
    became = "" if fix.after.predicted == fix.before.predicted else f" → {escape(fix.after.predicted)}"
    return [
        ("Predicted class", f"{escape(fix.before.predicted)}{became}", f"true class: {escape(fix.true)}"),
        (
            f"Probability of {escape(fix.true)}",
            f"{percent(fix.before.probabilities[fix.true])} → {percent(fix.after.probabilities[fix.true])}",
            after,
        ),
    ]


def _recipe(project: Project, fix: FixRecord) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in fix.versions.items()) or "not recorded"
    facts = [
        ("Strategy", fix.strategy),
        ("Method and measurement", f"{fix.method}, {fix.measurement}"),
        (
            "Fine-tuning",
            f"{fix.steps} of at most {fix.max_steps} steps, learning rate {fix.learning_rate:.2g}",
        ),
        ("Replayed beside them", f"{fix.replayed or 'no'} random training examples"),
        ("Seed and device", f"{fix.seed}, {fix.device}"),
        ("Made", f"{_day(fix)}, in {fix.seconds:.1f} s"),
        ("Versions", versions),
        *([("Note", fix.note)] if fix.note else []),
    ]
    rows = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in facts)
    stack = [*(project.history.stack(fix.base) if fix.base else []), fix]
    command = "\n".join(escape(replay_command(project.name, part)) for part in stack)
    return f'<table class="facts">{rows}</table><pre class="command">{command}</pre>'


def _day(fix: FixRecord) -> str:
    return fix.created[:16].replace("T", " ") + " UTC"
