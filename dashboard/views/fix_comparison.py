"""Two fixes beside each other: what they share, where they differ, and which does less harm. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from attribution.fixing.side_effects import mcnemar, paired_interval
from attribution.projects import Edit, FixRecord
from dashboard.views.accuracy import percent, points
from dashboard.views.fixes import verdict
from dashboard.views.stacks import listed_ids

LETTERS = ("A", "B")
"""What the two fixes are called, in the order of the link."""

CHANCE = 0.05
"""p-value from which on a difference is not told apart from chance."""


@dataclass(frozen=True)
class Overlap:
    """Ids that both fixes have, and those that only one has, each in its own fix's order."""

    both: list[str]
    only: tuple[list[str], list[str]]

    @classmethod
    def of(cls, first: Iterable[str], second: Iterable[str]) -> Overlap:
        """Of the ids of the first and of the second fix."""
        a, b = list(dict.fromkeys(first)), list(dict.fromkeys(second))
        return cls(
            [x for x in a if x in set(b)],
            ([x for x in a if x not in set(b)], [x for x in b if x not in set(a)]),
        )


@dataclass(frozen=True)
class Difference:
    """Two fixes against each other on the test examples that neither was made for.

    Args:
        right: on how many A is right and B wrong, and the other way round.
        p: exact two-sided McNemar p-value that both are equally often right there.
        interval: 95 % interval of accuracy of A minus accuracy of B, paired.
        total: test examples compared.
    """

    right: tuple[int, int]
    p: float
    interval: tuple[float, float]
    total: int

    @classmethod
    def of(cls, first: FixRecord, second: FixRecord, total: int) -> Difference:
        """From the lists in the two records; ``total`` is the number of test examples."""
        targets = {*made_for(first), *made_for(second)}
        (gained_a, lost_a), (gained_b, lost_b) = (
            (set(became_right(fix)) - targets, set(became_wrong(fix)) - targets) for fix in (first, second)
        )
        a_only = len(gained_a - gained_b) + len(lost_b - lost_a)
        b_only = len(gained_b - gained_a) + len(lost_a - lost_b)
        others = max(total - len(targets), 1)
        return cls((a_only, b_only), mcnemar(a_only, b_only), paired_interval(a_only, b_only, others), others)


def became_right(fix: FixRecord) -> list[str]:
    """Test examples that the original model gets wrong and the patched one right, what the fix was made for first."""
    if fix.stack is not None:
        return list(fix.stack.fixed)
    return [*targets_right(fix), *fix.newly_fixed]


def became_wrong(fix: FixRecord) -> list[str]:
    """Test examples that the original model gets right and the patched one wrong."""
    return list(fix.newly_broken if fix.stack is None else fix.stack.broken)


def became_as(fix: FixRecord) -> dict[str, str]:
    """What those that became wrong are predicted as, by id."""
    return fix.newly_broken_as if fix.stack is None else fix.stack.broken_as


def made_for(fix: FixRecord) -> list[str]:
    """Test examples that a fix and those beneath it were made for."""
    return fix.test_ids if fix.stack is None else fix.stack.targets


def targets_right(fix: FixRecord) -> list[str]:
    """Those of its test examples that a fix corrected."""
    if not fix.targets:
        return [fix.test_id] if fix.fixed else []
    return [target.test_id for target in fix.targets if target.fixed]


def edits_overlap(first: FixRecord, second: FixRecord) -> Overlap:
    """Training examples that both fixes use, and those that only one does."""
    return Overlap.of(first.train_ids, second.train_ids)


def action_words(edit: Edit) -> str:
    """What is done with a training example."""
    if edit.action == "relabel":
        return f"relabelled {edit.label}"
    return {"upweight": "up-weighted", "remove": "removed"}[edit.action]


def done_differently(first: FixRecord, second: FixRecord) -> list[str]:
    """Training examples of both fixes with which they do different things."""
    actions = [{edit.train_id: action_words(edit) for edit in fix.edits} for fix in (first, second)]
    return [x for x in edits_overlap(first, second).both if actions[0].get(x) != actions[1].get(x)]


def less_harm(first: FixRecord, second: FixRecord, total: int) -> tuple[str, str]:
    """Which of the two does less harm to the test examples that neither was made for, as far as chance lets one say:
    the verdict, and the numbers behind it."""
    found = Difference.of(first, second, total)
    a, b = found.right
    apart = a + b
    aside = "The examples they were made for are left out of this."
    if not apart:
        alike = f"On the other {found.total:,} test examples both are right and wrong alike."
        return "Neither does less harm.", f"{alike} {aside}"
    differ = f"{apart} of the other {found.total:,} test examples" if apart > 1 else "one other test example"
    low, high = found.interval
    facts = (
        f"On {differ} one is right and the other wrong: A is right on {a}, B on {b} (McNemar p "
        f"{_p(found.p)}; accuracy of A minus B {points((a - b) / found.total)}, 95 % interval {points(low)} to "
        f"{points(high)})."
    )
    if found.p >= CHANCE:
        return "The two cannot be told apart by the harm they do.", f"{facts} So much may be chance. {aside}"
    better = LETTERS[0] if a > b else LETTERS[1]
    return f"Fix {better} does less harm.", f"{facts} {aside}"


def facts(first: FixRecord, second: FixRecord) -> list[tuple[str, str, str]]:
    """Recipe and result of both, line by line: what it is, of A, of B."""
    lines = zip(_facts(first), _facts(second), strict=True)
    return [(title, a, b) for (title, a), (_, b) in lines if a or b]


def _facts(fix: FixRecord) -> list[tuple[str, str]]:
    before = fix.accuracy_before if fix.stack is None else fix.stack.accuracy_original
    low, high = fix.accuracy_interval if fix.stack is None else fix.stack.accuracy_interval
    own = set(fix.test_ids)
    calibration = "not recorded"
    if fix.calibration_before is not None and fix.calibration_after is not None:
        calibration = f"{percent(fix.calibration_before)} → {percent(fix.calibration_after)}"
    controls = "; ".join(
        f"{control.title}: {verdict(fix, control).lower()}, {control.newly_broken} broken"
        for control in fix.controls
    )
    return [
        ("Made for", listed_ids(fix.test_ids)),
        ("On top of", "" if fix.stack is None else ", ".join(fix.stack.beneath)),
        (
            "Prediction",
            f"{fix.before.predicted} → {fix.after.predicted}, true {fix.true}" if len(own) == 1 else "",
        ),
        ("Result", verdict(fix, fix)),
        ("Controls", controls or "none was run"),
        ("Other predictions fixed", f"{len(set(became_right(fix)) - own):,}"),
        ("Other predictions broken", f"{len(set(became_wrong(fix)) - own):,}"),
        (
            "Test accuracy",
            f"{percent(before)} → {percent(fix.accuracy_after)} (change "
            f"{points(fix.accuracy_after - before)}, 95 %: {points(low)} to {points(high)})",
        ),
        ("Calibration error", calibration),
        ("Strategy", f"{fix.strategy}, {len(fix.edits)} training examples"),
        ("Chosen by", f"{fix.method}, {fix.measurement}"),
        ("Guard", "no limit" if fix.guard is None else f"break at most {fix.guard}"),
        (
            "Training",
            f"{fix.optimizer}, learning rate {fix.learning_rate:.2g}, at most {fix.max_steps} steps, "
            f"{fix.replayed or 'no'} examples replayed",
        ),
        ("Seed and device", f"{fix.seed}, {fix.device}"),
        ("Note", fix.note),
    ]


def purpose_sentence(first: FixRecord, second: FixRecord) -> str | None:
    """What has to be said before harm is compared: fixes of different examples, or one that fixes nothing."""
    said = []
    if set(made_for(first)) != set(made_for(second)):
        said.append("The two are fixes of different test examples.")
    working = [letter for letter, fix in zip(LETTERS, (first, second), strict=True) if fix.fixed]
    if not working:
        said.append("Neither fixes what it was made for.")
    elif len(working) == 1:
        said.append(f"Only {working[0]} fixes what it was made for.")
    return " ".join(said) or None


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
