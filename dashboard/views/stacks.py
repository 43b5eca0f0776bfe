"""Fixes on top of fixes, in sentences. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from attribution.projects import FixRecord
from dashboard.views.accuracy import percent, points

LISTED = 4
"""Ids that are written out."""


def bar_sentence(stack: Sequence[FixRecord]) -> str:
    """Where one is: on top of these fixes, or on the original model again."""
    if not stack:
        return "Back on the original model."
    ids = [test_id for fix in stack for test_id in fix.test_ids]
    what = "a fix" if len(stack) == 1 else f"{len(stack)} fixes"
    examples = f"test example{'s' if len(ids) > 1 else ''} {listed_ids(ids)}"
    return (
        f"On top of {what} ({examples}). Predictions are those of the model with "
        f"{'it' if len(stack) == 1 else 'them'}, explanations those of the original model."
    )


def listed_ids(ids: Sequence[str]) -> str:
    """Ids side by side, the first few of many."""
    more = len(ids) - LISTED
    return ", ".join(ids[:LISTED]) + (f" and {more} more" if more > 0 else "")


def beneath_sentence(fix: FixRecord) -> str | None:
    """What a fix stands on; None where it starts from the original model."""
    if fix.base is None or fix.stack is None:
        return None
    count = len(fix.stack.beneath)
    earlier, them = (f"{count} earlier fixes", "them") if count > 1 else ("an earlier fix", "it")
    return (
        f"On top of {earlier}: before, side effects and controls are against the model with {them}; the explanation "
        "behind it is that of the original model."
    )


def stack_sentence(fix: FixRecord) -> str:
    """What the whole stack did to the original model; nothing where there is none."""
    stack = fix.stack
    if stack is None:
        return ""
    low, high = stack.accuracy_interval
    count = len(stack.beneath) + 1
    aimed = len(stack.targets)
    right = aimed - len(stack.wrong)
    held = f"{_all(aimed)} examples" if aimed > 1 else "the example"
    if stack.wrong:
        held = f"{right} of the {aimed} examples"
    return (
        f"{_all(count).capitalize()} fixes together, against the original model: {held} they were made for "
        f"{'is' if right == 1 else 'are'} predicted right, test accuracy {percent(stack.accuracy_original)} → "
        f"{percent(fix.accuracy_after)} ({points(fix.accuracy_after - stack.accuracy_original)}, 95 % interval "
        f"{points(low)} to {points(high)}); {len(stack.fixed)} predictions fixed, {len(stack.broken)} broken."
    )


def _all(count: int) -> str:
    return "both" if count == 2 else f"all {count}"


def undone_sentence(fix: FixRecord) -> str | None:
    """A warning where this fix undoes an earlier one; None otherwise."""
    if fix.stack is None:
        return None
    broken = set(fix.newly_broken)
    undone = [test_id for test_id in fix.stack.targets if test_id in broken]
    if not undone:
        return None
    which = f"test example {undone[0]} is" if len(undone) == 1 else f"{len(undone)} test examples are"
    return f"An earlier fix has come undone: {which} predicted wrong again. Set a guard, or choose other examples."
