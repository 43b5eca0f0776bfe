"""What retraining says about a fix, in sentences: the same on the page, in the report and on the command line."""

from __future__ import annotations

from typing import Literal

from attribution.projects import VerificationRecord
from attribution.projects.verification_record import Change
from dashboard.views.accuracy import percent

SAME_SIZE = 2.0
"""Factor within which a change counts as being of the predicted size, where the seeds cannot tell them apart."""

NOTHING = 0.1
"""Share of the predicted change below which a change is next to nothing."""

_PARTS = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth", 6: "a sixth", 7: "a seventh", 8: "an eighth",
          9: "a ninth", 10: "a tenth"}  # fmt: skip


Judgement = Literal["held", "partly", "did not hold", "cannot tell"]


def judgement(predicted: float, actual: Change) -> Judgement:
    """Whether retraining did as predicted.

    It ``held`` where the interval excludes no change and holds the prediction, or the two are within a factor of
    `SAME_SIZE`; ``partly`` where only the direction is right. Where no change may be all there is, nobody can tell, but
    for changes that are next to nothing beside the prediction for sure.
    """
    if actual.interval is None:
        return "cannot tell"
    low, high = actual.interval
    if low <= 0 <= high:
        return "did not hold" if max(-low, high) <= NOTHING * abs(predicted) else "cannot tell"
    if predicted == 0 or (actual.mean > 0) != (predicted > 0):
        return "did not hold"
    same = low <= predicted <= high or 1 / SAME_SIZE <= actual.mean / predicted <= SAME_SIZE
    return "held" if same else "partly"


def verdict(record: VerificationRecord) -> str:
    """Whether the explanation held, with the numbers it is said by."""
    actual, predicted = record.actual, record.predicted
    moved = f"retraining moved the margin by {change_words(record)}, predicted {signed(predicted)}"
    found = judgement(predicted, actual)
    if found == "held":
        return f"Held: {moved}."
    if found == "partly":
        return f"Partly: {moved}: the same direction, but {_size(actual.mean / predicted)}."
    if actual.interval is None:
        return f"Cannot tell from one seed: {moved}. Verify with more seeds."
    low, high = actual.interval
    if found == "did not hold":
        return f"Did not hold: {moved}: {'next to nothing happened' if low <= 0 <= high else 'it went the other way'}."
    more = "More seeds may tell."
    if not low <= predicted <= high:
        more = "An effect as large as predicted can be ruled out; more seeds may show a smaller one."
    return f"Cannot tell: the seeds differ more than the effect: {moved}. {more}"


def _size(ratio: float) -> str:
    """How large the actual change is, of the predicted one."""
    if ratio > 1:
        return f"{ratio:.1f} times the size"
    part = round(1 / ratio)
    return f"{_PARTS[part]} of the size" if part in _PARTS else "less than a tenth of the size"


def change_words(record: VerificationRecord) -> str:
    """The mean change with its interval and the number of seeds it is from: ``−1.9 ± 0.4 (3 seeds)``."""
    actual, count = record.actual, len(record.seeds)
    seeds = f"({count} seed{'s' if count != 1 else ''})"
    if actual.interval is None:
        return f"{signed(actual.mean)} {seeds}"
    half = (actual.interval[1] - actual.interval[0]) / 2
    digits = 1 if abs(actual.mean) >= 1 and half >= 0.1 else 2
    return f"{_sign(actual.mean)}{abs(actual.mean):.{digits}f} ± {half:.{digits}f} {seeds}"


def outcome_sentence(record: VerificationRecord) -> str:
    """How often retrained models are right, and how accurate they are, with the edits and without."""
    right, accuracy = record.retrained_right, record.accuracy
    seeds, examples = len(record.seeds), len(record.test_ids)
    total = seeds * examples
    with_edits, without = round(right.with_edits * total), round(right.without_edits * total)
    counted = f"{seeds} seed{'s' if seeds != 1 else ''}"
    if examples == 1:
        found = f"the prediction is right in {with_edits} of {counted}, without them in {without}"
    else:
        of = f"{total} predictions are right ({examples} examples, {counted})"
        found = f"{with_edits} of {of}, without them {without}"
    return (
        f"Retrained with the edits {found}; test accuracy {percent(accuracy.with_edits)} against "
        f"{percent(accuracy.without_edits)}."
    )


def training_sentence(record: VerificationRecord) -> str:
    """What was trained, from where, and what predicted the change."""
    span = (
        f"from the beginning, {record.steps:,} steps"
        if record.from_step == 0
        else f"from step {record.from_step:,} of {record.steps:,}, the earliest checkpoint: what the edits would have "
        "changed before it is missing"
    )
    instead = (
        f", as scores of {record.fix_method} do not estimate retraining"
        if record.method != record.fix_method
        else ""
    )
    how = " with refined curvature" if record.refined else ""
    edits = "the edits"
    if record.beneath:
        count = len(record.beneath)
        edits += f" (those of the {count} fix{'es' if count > 1 else ''} beneath included)"
    return (
        f"Retrained {span}, with and without {edits} from the same {len(record.seeds)} seed"
        f"{'s' if len(record.seeds) != 1 else ''}; predicted by {record.method}{how}{instead}."
    )


def spread_sentence(record: VerificationRecord) -> str | None:
    """What the seed alone does to the margin; None for one seed."""
    margins = record.margins_without
    if len(margins) < 2:
        return None
    return (
        f"Without edits the margin of the retrained models lies between {signed(min(margins))} and "
        f"{signed(max(margins))}: so much depends on the seed alone."
    )


def cost_sentence(seeds: int, steps: int | None, latest: VerificationRecord | None) -> str:
    """What verifying costs, as far as it is known before.

    Args:
        steps: of one training, where the record has them.
        latest: an earlier verification in this project, which shows how long one training takes.
    """
    if latest is not None and latest.trained:
        each = latest.seconds / latest.trained
        return (
            f"Trains the model {seeds} times with the edits, about {_duration(seeds * each)}, and as often without "
            "them where that was not done before."
        )
    long = f"for {steps:,} steps" if steps else "as its training record says"
    return (
        f"Trains the model {2 * seeds} times {long}, {seeds} of them with the edits: seconds for a small network, many "
        "minutes for a large one. You can go on meanwhile, and cancel."
    )


def _duration(seconds: float) -> str:
    return f"{max(round(seconds), 1)} s" if seconds < 90 else f"{round(seconds / 60)} min"


def signed(value: float) -> str:
    """A change with its sign, as exact as it deserves."""
    size = abs(value)
    return _sign(value) + (f"{size:.2f}" if size < 1 else f"{size:.1f}")


def _sign(value: float) -> str:
    return "−" if value < 0 else "+"
