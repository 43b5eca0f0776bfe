"""What a fix did, in sentences. "Fixed" is never said without the controls."""

from __future__ import annotations

from attribution.projects.records import ControlRecord, FixRecord
from dashboard.views.accuracy import points


def steps_sentence(fix: FixRecord) -> str:
    """What was done: always "after k steps, not a retrain"."""
    count = len(fix.edits)
    kinds = {edit.action for edit in fix.edits}
    removed = "unlearned" if fix.strategy == "unlearn" else "removed"
    doing = {"upweight": "up-weighted", "relabel": "relabelled", "remove": removed}
    done = doing[kinds.pop()] if len(kinds) == 1 else "edited"
    what = f"{count} {done} training example{'s' if count != 1 else ''}"
    if fix.strategy == "test":
        what = (
            "Trained on the test example itself" if len(fix.test_ids) == 1 else "Trained on the test examples"
        )
    return f"{what}, after {fix.steps} step{'s' if fix.steps != 1 else ''}, not a retrain."


def stop_sentence(fix: FixRecord) -> str | None:
    """Why it went no further, where that says something that the other sentences do not; None otherwise."""
    if fix.stopped == "guard":
        return (
            f"Stopped because another step would break more than the {fix.guard} other predictions that the guard "
            "allows: allow more, or choose other examples or another strategy."
        )
    if fix.stopped == "cap" and not fix.fixed:
        return (
            "Stopped because the model does not believe the unlearned examples any more: choose more of them, or "
            "another strategy."
        )
    if fix.stopped == "best":
        return (
            "Further steps were taken back: none left more right. Allow more steps, or choose other examples or fewer "
            "predictions."
        )
    if fix.stopped == "stalled":
        return (
            f"Stopped early: at this pace the {fix.max_steps} steps allowed would not be enough. Choose other "
            "examples or another strategy, or allow more steps."
        )
    if fix.stopped == "steps" and fix.fixed:
        right = "the prediction" if len(fix.test_ids) == 1 else "all predictions"
        return f"The steps ended with {right} right; whether that stays so is not known: allow more steps."
    return None


def significance(fix: FixRecord) -> str:
    """The p-value of McNemar's test in brackets, to follow a change in accuracy; nothing where it was not recorded."""
    if fix.mcnemar_p is None:
        return ""
    return f" (McNemar p {'< 0.001' if fix.mcnemar_p < 0.001 else f'= {fix.mcnemar_p:.3f}'})"


def controls_sentence(fix: FixRecord) -> str:
    """What the controls say about whether the chosen examples matter: by speed first, then by what they break."""
    total = len(fix.controls)
    if not total:
        return "No control was run beside it."
    if len(fix.test_ids) > 1:
        return _group_sentence(fix)
    every = f"of the {total} controls" if total > 1 else "control"
    fixed = [control for control in fix.controls if control.fixed]
    if not fix.fixed:
        if fixed:
            return f"Not fixed, though a control was ({_titles(fixed)}): choose other examples."
        within = " within the guard" if fix.stopped == "guard" else ""
        return f"Not fixed{within}, and none {every} either{_way_out(fix)}."
    if not fixed:
        return f"None {every} fixed it: the chosen examples matter."
    as_fast = [control for control in fixed if control.steps <= fix.steps]
    if not as_fast:
        return f"A control fixed it too, in more steps ({_titles(fixed)}): the chosen examples matter."
    broken = len(fix.newly_broken)
    as_harmless = [control for control in as_fast if control.newly_broken <= broken]
    if as_harmless:
        return (
            f"A control did as well, in no more steps and breaking no more ({_titles(as_harmless)}): "
            "no sign that the chosen examples matter."
        )
    harm = " and ".join(f"{control.title.lower()} {control.newly_broken}" for control in as_fast)
    return (
        f"A control fixed it as fast or faster but broke more ({harm}, against {broken} here): "
        "the chosen examples do less harm."
    )


def _way_out(fix: FixRecord) -> str:
    """What may do instead, unless `stop_sentence` says it."""
    return "" if stop_sentence(fix) else ": more steps or other examples may do"


def _group_sentence(fix: FixRecord) -> str:
    """What the controls say of several targets: by how many they fixed, then by steps, then by what they break."""
    count, of = fix.fixed_count, f"of {len(fix.test_ids)}"
    said = " and ".join(f"{control.title.lower()} {_count(control)}" for control in fix.controls)
    if not count and not any(_count(control) for control in fix.controls):
        return f"None is fixed, by the controls neither{_way_out(fix)}."
    as_many = [control for control in fix.controls if _count(control) >= count]
    if not as_many:
        return f"{count} {of} fixed; the controls fixed fewer ({said}): the chosen examples matter."
    more = [control for control in as_many if _count(control) > count]
    if more:
        return f"{count} {of} fixed, though a control fixed more ({said}): choose other examples."
    as_fast = [control for control in as_many if not fix.fixed or control.steps <= fix.steps]
    if not as_fast:
        return f"All {count} fixed; a control fixed them too, in more steps: the chosen examples matter."
    broken = len(fix.newly_broken)
    as_harmless = [control for control in as_fast if control.newly_broken <= broken]
    if as_harmless:
        return (
            f"{count} {of} fixed; a control did as well, breaking no more ({_titles(as_harmless)}): no sign that the "
            "chosen examples matter."
        )
    harm = " and ".join(f"{control.title.lower()} {control.newly_broken}" for control in as_fast)
    return (
        f"{count} {of} fixed; a control fixed as many but broke more ({harm}, against {broken} here): the chosen "
        "examples do less harm."
    )


def _count(control: ControlRecord) -> int:
    """How many targets a control fixed."""
    return int(control.fixed) if control.fixed_count is None else control.fixed_count


def _titles(controls: list[ControlRecord]) -> str:
    return " and ".join(control.title.lower() for control in controls)


def harm_sentence(fix: FixRecord) -> str | None:
    """A warning where the test accuracy falls by more than chance explains; None otherwise."""
    low, high = fix.accuracy_interval
    if high >= 0:
        return None
    fall = 100 * (fix.accuracy_before - fix.accuracy_after)
    return (
        f"Test accuracy falls by {fall:.1f} points (95 % interval {-100 * high:.1f} to {-100 * low:.1f}): "
        "try other examples or another strategy."
    )


def verdict(fix: FixRecord, run: FixRecord | ControlRecord) -> str:
    """One cell of the comparison: the result and the steps it took, of the fix itself or of one of its controls."""
    if not run.steps and not run.fixed and isinstance(run, ControlRecord):
        return "Not fixed: its steps diverge" if fix.strategy != "unlearn" else "Not fixed: no step to take"
    steps = f"in {run.steps} step{'s' if run.steps != 1 else ''}"
    if len(fix.test_ids) > 1:
        return f"{fixed_words(fix, run)} fixed {steps}"
    return f"Fixed {steps}" if run.fixed else f"Not fixed {steps}"


def fixed_words(fix: FixRecord, run: FixRecord | ControlRecord) -> str:
    """Whether the fix or a control fixed the target, yes or no; of several targets, how many."""
    if len(fix.test_ids) == 1:
        return "yes" if run.fixed else "no"
    count = run.fixed_count if isinstance(run, FixRecord) else _count(run)
    return f"{count} of {len(fix.test_ids)}"


def subject(fix: FixRecord) -> str:
    """What is fixed, in a few words."""
    count = len(fix.test_ids)
    return f"test example {fix.test_id}" if count == 1 else f"{count} test examples"


def result_chip(fix: FixRecord) -> str:
    """The result in a few words, with the controls."""
    if len(fix.test_ids) > 1:
        theirs = " and ".join(str(_count(control)) for control in fix.controls) or "not run"
        return f"{fixed_words(fix, fix)} fixed · controls {theirs}"
    count = sum(control.fixed for control in fix.controls)
    word = "Fixed" if fix.fixed else "Not fixed"
    return f"{word} · controls {count} of {len(fix.controls)}"


def accuracy_change(fix: FixRecord) -> str:
    """Change of the test accuracy with its 95 % interval."""
    low, high = fix.accuracy_interval
    return (
        f"{points(fix.accuracy_after - fix.accuracy_before)} (95 % interval {points(low)} to {points(high)})"
    )
