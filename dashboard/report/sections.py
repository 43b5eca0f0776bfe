"""The steps of a report's story. The sentences and numbers are those of the pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attribution.explanation import Explanation
from attribution.fixing import edit_reasons
from attribution.projects import ControlRecord, FixRecord, Project, VerificationRecord
from dashboard.report.drawing import bars, curve
from dashboard.report.escaping import escape
from dashboard.report.looked import looked_html
from dashboard.report.pictures import shown
from dashboard.views.accuracy import percent, points
from dashboard.views.fixes import accuracy_change, controls_sentence, verdict
from dashboard.views.verification import outcome_sentence, spread_sentence, training_sentence
from dashboard.views.verification import verdict as verdict_of_retraining

CULPRITS = 8
"""Examples behind the mistake that are shown."""

MOST_EDITS = 24
"""Edited examples that are shown."""

MOST_TARGETS = 50
"""Test examples fixed at once that are shown."""

MOST_EFFECTS = 16
"""Predictions newly fixed, and newly broken, that are shown."""

_DONE = {"upweight": "trained on more", "relabel": "relabelled", "remove": "removed"}


def mistake(project: Project, fix: FixRecord, looked: Mapping[str, Any] | None = None) -> str:
    """The examples, what the model said of them before, and of a single one what it looked at, where that is known."""
    if len(fix.test_ids) > 1:
        return _mistakes(project, fix)
    example = project.example("test", fix.test_id)
    confidence = fix.before.probabilities[fix.before.predicted]
    return (
        f"<p>The model says {_chip(fix.before.predicted, 'culprit')} with a probability of "
        f"<b>{percent(confidence)}</b>. The right answer is {_chip(fix.true, 'helper')}, which it gives "
        f"<b>{percent(fix.before.probabilities[fix.true])}</b>.</p>"
        '<div class="split"><div>'
        f"{_seen(project, fix, str(example['input']), looked)}"
        f'<p class="muted small">Test example {escape(fix.test_id)}</p></div><div>'
        + bars(
            fix.before.probabilities,
            true=fix.true,
            predicted=fix.before.predicted,
            label="Probability of each class before the fix",
        )
        + "</div></div>"
    )


def _seen(project: Project, fix: FixRecord, value: str, looked: Mapping[str, Any] | None) -> str:
    """The test example, with what the model looked at where that is known."""
    name = f"Test example {fix.test_id}"
    if looked is None:
        return shown(project.kind, value, name, large=True)
    return f"<h3>What the model looked at</h3>{looked_html(project.kind, value, name, looked)}"


def _mistakes(project: Project, fix: FixRecord) -> str:
    """Several examples as cards."""
    items = []
    for target in fix.targets[:MOST_TARGETS]:
        example = project.example("test", target.test_id)
        confidence = target.before.probabilities[target.before.predicted]
        items.append(
            f"{shown(project.kind, example['input'], f'Test example {target.test_id}')}"
            f'<p class="small">says {_chip(target.before.predicted, "culprit")} ({percent(confidence)}), right is '
            f"{_chip(target.true, 'helper')}</p>"
            f'<p class="id small muted">{escape(target.test_id)}</p>'
        )
    return (
        f"<p>The model gets these {len(fix.targets)} test examples wrong. They are to be put right at once.</p>"
        + _grid(items)
        + _cut(len(items), len(fix.targets))
    )


def _targets(fix: FixRecord) -> str:
    """What became of each of several examples."""
    rows = [
        [
            f'<span class="id">{escape(target.test_id)}</span>',
            escape(target.true),
            escape(target.before.predicted),
            _chip(target.after.predicted, "helper" if target.fixed else "culprit"),
            percent(target.before.probabilities[target.true]),
            percent(target.after.probabilities[target.true]),
        ]
        for target in fix.targets[:MOST_TARGETS]
    ]
    return _table(
        ["Test example", "True", "Before", "Now", "True class before", "now"],
        rows,
        caption="Each prediction before and after, and the probability of its true class",
        numbers=2,
    ) + _cut(len(rows), len(fix.targets))


def reasons(fix: FixRecord, explanation: Explanation | None, kind: str) -> str:
    """The training examples that pushed the model to its mistake."""
    if explanation is None:
        return (
            f"<p>The examples were scored by a measurement of the user's own ({escape(fix.measurement)}), which a "
            "report does not run: open the fix in Tracefix to see them.</p>"
        )
    cards = explanation.culprits(CULPRITS)
    if not cards:
        which = "this mistake" if len(fix.test_ids) == 1 else "these mistakes"
        return f"<p>By {escape(fix.method)}, no training example pushed the model to {which}.</p>"
    suspected = sum(card["suspected_label_error"] for card in cards)
    flagged = (
        f" {suspected} of them look{'s' if suspected == 1 else ''} mislabelled: {_judge(cards[0])} says another class."
        if suspected
        else ""
    )
    largest = max(abs(card["score"]) for card in cards)
    group = len(fix.test_ids)
    towards = (
        f"most towards {_chip(fix.before.predicted, 'culprit')}, strongest first"
        if group == 1
        else f"to the most of these {group} mistakes, those that explain the most first"
    )
    return (
        f"<p>Of all training examples these {len(cards)} pushed the model {towards}.{escape(flagged)}</p>"
        + _grid((_culprit(card, kind, largest, group) for card in cards), "even")
        + f'<p class="muted small">The longer the bar, the stronger the push, as far as it can be '
        f"estimated: influence on {escape(explanation.measurement_words)} by the method {escape(fix.method)}, "
        f"{largest:+.2g} for the {'first' if group == 1 else 'longest'}.</p>"
    )


def _judge(card: dict[str, Any]) -> str:
    """Who says which labels look wrong."""
    return "the model itself" if card["held_out_probability"] is None else "the model, held out,"


def _culprit(card: dict[str, Any], kind: str, largest: float, group: int) -> str:
    suspicion = (
        f'<p class="small"><span class="flag">Label looks wrong:</span> {_judge(card)} says '
        f"“{escape(str(card['suggested_label']))}”</p>"
        if card["suspected_label_error"]
        else ""
    )
    share = 100 * abs(card["score"]) / largest if largest else 0.0
    return (
        f"{shown(kind, card['input'], 'Training example ' + card['id'])}"
        f'<span class="track"><span class="fill culprit" style="width:{share:.1f}%"></span></span>'
        f'<p class="small">labelled “{escape(card["label"])}” <span class="id muted">{escape(card["id"])}</span></p>'
        + (
            f'<p class="small"><b>explains {card["explains"]} of {group}</b></p>'
            if "explains" in card
            else ""
        )
        + suspicion
    )


def changes(project: Project, fix: FixRecord, explanation: Explanation | None) -> str:
    """The edited training examples, and why these."""
    cards = project.describe("train", [edit.train_id for edit in fix.edits])
    why = edit_reasons(project, fix, explanation)
    items = []
    for edit, card, reason in list(zip(fix.edits, cards, why, strict=True))[:MOST_EDITS]:
        label = f"“{escape(card['label'])}”"
        now = f"{label} → “{escape(edit.label)}”" if edit.action == "relabel" and edit.label else label
        items.append(
            f"{shown(project.kind, card['input'], f'Training example {edit.train_id}')}"
            f'<p class="small"><b>{_DONE[edit.action]}</b>: {now} '
            f'<span class="id muted">{escape(edit.train_id)}</span></p>'
            f'<p class="small muted">{escape(reason[:1].upper() + reason[1:])}</p>'
        )
    count, step = len(fix.edits), f"{fix.steps} small fine-tuning step{'s' if fix.steps != 1 else ''}"
    beside = (
        f", with {fix.replayed} random training examples beside them to hold the rest in place"
        if fix.replayed
        else ""
    )
    return (
        f"<p>A copy of the model took {step} on {'these' if count > 1 else 'this'} {count:,} training "
        f"example{'s' if count > 1 else ''}{beside}. The model itself was not touched, nor were the data.</p>"
        f"{_suggested(fix)}{_grid(items, 'wide')}{_cut(len(items), count)}"
    )


def _suggested(fix: FixRecord) -> str:
    """Why these were suggested; nothing where they were chosen otherwise."""
    if not fix.suggestion:
        return ""
    items = "".join(f"<li>{escape(reason)}</li>" for reason in fix.suggestion)
    return f"<p>They were suggested, of the sets that were tried:</p><ul>{items}</ul>"


def outcome(fix: FixRecord) -> str:
    """Before and after, step by step, and the same steps on other training examples."""
    runs = [("This fix", fix.probability_per_step)]
    runs += [(f"Control: {control.title.lower()}", control.probability_per_step) for control in fix.controls]
    longest = max(len(curve_points) for _, curve_points in runs) - 1
    one = len(fix.test_ids) == 1
    true_class = f"the true class “{fix.true}”" if one else "the true class, mean"
    before = f"“{fix.before.predicted}”, predicted before" if one else "the class predicted before, mean"
    curves = "".join(
        f"<figure><figcaption>{escape(title)}</figcaption>"
        + curve(
            curve_points,
            longest=longest,
            label=f"{title}: {'' if one else 'mean '}probability of {fix.true if one else 'the true class'} goes from "
            f"{percent(curve_points[0].true)} to "
            f"{percent(curve_points[-1].true)}",
        )
        + "</figure>"
        for title, curve_points in runs
    )
    return (
        "<p>A control takes the same steps on other training examples: if it does as well, the chosen ones were "
        f"nothing special. Here: <b>{escape(controls_sentence(fix))}</b></p>"
        + (
            bars(
                fix.before.probabilities,
                after=fix.after.probabilities,
                true=fix.true,
                predicted=fix.before.predicted,
                label="Probability of each class before and after the fix",
            )
            if one
            else _targets(fix)
        )
        + _comparison(fix)
        + f'<div class="curves">{curves}</div>'
        f'<p class="legend small"><span class="line helper"></span>● probability of {escape(true_class)} &nbsp; '
        f'<span class="line culprit"></span>◆ of {escape(before)}</p>'
    )


def _comparison(fix: FixRecord) -> str:
    def row(what: str, run: FixRecord | ControlRecord, repaired: int, broken: int, tone: str) -> list[str]:
        change = points(run.accuracy_after - fix.accuracy_before)
        return [escape(what), _chip(verdict(fix, run), tone), change, f"{repaired:,}", f"{broken:,}"]

    rows = [
        row(
            "This fix",
            fix,
            len(fix.newly_fixed),
            len(fix.newly_broken),
            "helper" if fix.fixed else "culprit",
        )
    ]
    rows += [row(f"Control: {c.title.lower()}", c, c.newly_fixed, c.newly_broken, "") for c in fix.controls]
    return _table(
        [
            "Same steps on",
            _these(fix),
            "Test accuracy",
            "Others fixed",
            "Others broken",
        ],
        rows,
        caption="The fix next to its controls",
        numbers=3,
    )


def _these(fix: FixRecord) -> str:
    return "This prediction" if len(fix.test_ids) == 1 else "These predictions"


def cost(project: Project, fix: FixRecord) -> str:
    """What became of all other test examples."""
    tested = sum(line.count for line in fix.per_class)
    lines = sorted(fix.per_class, key=lambda line: -abs(line.after - line.before))
    per_class = _table(
        ["Class", "Before", "After", "Change", "Examples"],
        [
            [
                escape(line.class_name),
                percent(line.before),
                percent(line.after),
                points(line.after - line.before),
                f"{line.count:,}",
            ]
            for line in lines
        ],
        caption="Accuracy per class before and after",
        numbers=4,
    )
    return (
        f"<p>All {tested:,} test examples were predicted again. Test accuracy went from "
        f"<b>{percent(fix.accuracy_before)}</b> to <b>{percent(fix.accuracy_after)}</b>: "
        f"{escape(accuracy_change(fix))}, paired over the test examples.</p>"
        + _effects(project, fix, "Newly fixed", fix.newly_fixed, "No other prediction became right.")
        + _effects(project, fix, "Newly broken", fix.newly_broken, "No prediction became wrong.")
        + f"<h3>Per class</h3>{per_class}"
    )


def _effects(project: Project, fix: FixRecord, title: str, ids: list[str], empty: str) -> str:
    heading = f"<h3>{escape(title)} ({len(ids):,})</h3>"
    known = project.predictions("test").index
    cards = []
    for example_id in [found for found in ids if found in known][:MOST_EFFECTS]:
        example = project.example("test", example_id)
        before, now = (
            (fix.newly_fixed_from.get(example_id, example["predicted"]), example["true"])
            if example_id in fix.newly_fixed
            else (example["true"], fix.newly_broken_as.get(example_id, "another class"))
        )
        cards.append(
            f"{shown(project.kind, example['input'], f'Test example {example_id}')}"
            f'<p class="small">“{escape(before)}” → <b>“{escape(now)}”</b></p>'
            f'<p class="id small muted">{escape(example_id)}</p>'
        )
    if not cards:
        return f'{heading}<p class="muted">{escape(empty)}</p>'
    return heading + _grid(cards) + _cut(len(cards), len(ids))


def belief(
    fix: FixRecord, explanation: Explanation | None, verification: VerificationRecord | None = None
) -> str:
    """What this page does not show, and what retraining showed where that was tried."""
    words = [
        *_retraining(fix, verification),
        "Influence is estimated to first order by "
        f"{fix.method}; no method is right everywhere. {explanation.trust.get('sentence', '') if explanation else ''}",
        controls_sentence(fix),
        f"Of the accuracy, the 95 % interval of the change is {points(fix.accuracy_interval[0])} to "
        f"{points(fix.accuracy_interval[1])}: what lies within it may be chance.",
    ]
    items = "".join(f"<li>{escape(sentence.strip())}</li>" for sentence in words)
    return f'<h3 id="belief">How far to believe this</h3><ul>{items}</ul>'


def _cut(shown_count: int, total: int) -> str:
    """Says that a list was cut, where it was."""
    return f'<p class="muted small">The first {shown_count} of {total:,}.</p>' if total > shown_count else ""


def _retraining(fix: FixRecord, verification: VerificationRecord | None) -> list[str]:
    """What is known of training again with the edits."""
    preview = f"This is the model after {fix.steps} step{'s' if fix.steps != 1 else ''}, not a retrain"
    if verification is None:
        return [
            f"{preview}: training it again with these edits may do otherwise, and has not been tried here."
        ]
    tried = [
        f"{preview}. Training it again with these edits was tried. {verdict_of_retraining(verification)}",
        outcome_sentence(verification),
        training_sentence(verification),
        spread_sentence(verification),
    ]
    return [sentence for sentence in tried if sentence is not None]


def _chip(text: str, tone: str) -> str:
    return f'<span class="chip {tone}">{escape(text)}</span>'


def _grid(cards: Iterable[str], width: str = "") -> str:
    """Cards side by side; ``width`` is a class of the style that says how wide they are."""
    items = "".join(f"<li>{card}</li>" for card in cards)
    return f'<ul class="grid {width}">{items}</ul>'


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str, numbers: int) -> str:
    """A table whose last ``numbers`` columns are aligned to the right; cells are HTML."""
    words = len(titles) - numbers

    def line(tag: str, cells: Sequence[str]) -> str:
        sides = ["" if place < words else ' class="right"' for place in range(len(cells))]
        return "".join(f"<{tag}{side}>{cell}</{tag}>" for side, cell in zip(sides, cells, strict=True))

    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return (
        f'<div class="frame"><table class="plain"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{line('th', [escape(title) for title in titles])}</tr></thead><tbody>{body}</tbody></table></div>"
    )
