"""What a fix did, in sentences. "Fixed" is never said without the controls."""

from __future__ import annotations

from attribution.projects.records import FixRecord
from dashboard.views.accuracy import points


def steps_sentence(fix: FixRecord) -> str:
    """What was done: always "after k steps, not a retrain"."""
    count = len(fix.edits)
    kinds = {edit.action for edit in fix.edits}
    doing = {"upweight": "up-weighted", "relabel": "relabelled", "remove": "removed"}
    done = doing[kinds.pop()] if len(kinds) == 1 else "edited"
    return (
        f"{count} {done} training example{'s' if count != 1 else ''}, "
        f"after {fix.steps} step{'s' if fix.steps != 1 else ''}, not a retrain."
    )


def controls_sentence(fix: FixRecord) -> str:
    """What the controls say about whether the chosen examples matter."""
    fixed = [control for control in fix.controls if control.fixed]
    total = len(fix.controls)
    if not total:
        return "No control was run beside it."
    if fix.fixed and not fixed:
        return f"None of the {total} controls fixed it: the chosen examples matter."
    if fix.fixed and len(fixed) == total:
        slower = [control for control in fixed if control.steps > fix.steps]
        if len(slower) == total:
            return f"All {total} controls fixed it too, but needed more steps: the chosen examples help a little more."
        return f"All {total} controls fixed it too: the chosen examples are not special here."
    if fix.fixed:
        names = ", ".join(control.title.lower() for control in fixed)
        return f"{len(fixed)} of {total} controls fixed it too ({names}): partly the chosen examples, partly the steps."
    if fixed:
        names = ", ".join(control.title.lower() for control in fixed)
        return f"Not fixed, though {len(fixed)} of {total} controls did ({names}): choose other examples."
    return f"Not fixed, and none of the {total} controls either: more steps or other examples may do."


def verdict(fixed: bool, steps: int) -> str:
    """One cell of the comparison: the result and the steps it took."""
    return f"Fixed in {steps} step{'s' if steps != 1 else ''}" if fixed else f"Not fixed in {steps} steps"


def result_chip(fix: FixRecord) -> str:
    """The result in a few words, with the controls."""
    count = sum(control.fixed for control in fix.controls)
    word = "Fixed" if fix.fixed else "Not fixed"
    return f"{word} · controls {count} of {len(fix.controls)}"


def accuracy_change(fix: FixRecord) -> str:
    """Change of the test accuracy with its 95 % interval."""
    low, high = fix.accuracy_interval
    return (
        f"{points(fix.accuracy_after - fix.accuracy_before)} (95 % interval {points(low)} to {points(high)})"
    )
