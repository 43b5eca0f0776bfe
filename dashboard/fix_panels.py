"""Parts of a previewed fix: its comparison with the controls, its curves, its side effects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as plotly
import streamlit as st

from attribution.projects import FixRecord
from dashboard.components.belief import belief
from dashboard.components.mistakes import mistakes
from dashboard.components.table import Column, Row, table
from dashboard.current import Opened
from dashboard.mistake_cards import fixed_cards, investigate
from dashboard.state import go, link
from dashboard.views.curves import probability_curves
from dashboard.views.fixes import verdict

LISTED = 50
"""Side effects shown in a list; the number above it counts all."""

TARGETS_HEIGHT = 560
"""CSS pixels of the cards of many test examples; they scroll beyond."""

LIST_HEIGHT = 430
"""CSS pixels, about those of a table of ten classes."""


@st.cache_data(max_entries=64, show_spinner=False)
def curves_of(_fix: FixRecord, fix_id: str) -> plotly.Figure:
    """The figure of a fix, which never changes."""
    del fix_id
    return probability_curves(_fix)


def fix_outcome(opened: Opened, fix: FixRecord, *, key: str, caption: str, size: int) -> None:
    """What a fix made of its test example: the model's belief before and after; of several, a card for each.

    Args:
        key: of the element; different for two fixes on one page.
        caption: what the cards of several are, for those who hear the page.
        size: of a picture, in CSS pixels.
    """
    if len(fix.targets) > 1:
        with st.container(height=TARGETS_HEIGHT if len(fix.targets) > 8 else "content", border=False):
            mistakes(
                f"targets-{key}",
                fixed_cards(opened, fix),
                caption=caption,
                kind=opened.project.kind,
                on_open=lambda example_id: investigate(opened, example_id, fix.base),
            )
        return
    known = fix.test_id in opened.project.predictions("test").index
    belief(
        f"belief-{key}",
        fix.before.probabilities,
        after=fix.after.probabilities,
        true=fix.true,
        predicted=fix.before.predicted,
        example_id=fix.test_id,
        input=opened.project.example("test", fix.test_id)["input"] if known else None,
        kind=opened.project.kind,
        size=size,
    )


def comparison(fix: FixRecord) -> None:
    """The fix next to the controls."""
    before = fix.accuracy_before
    rows = [
        Row(
            id="fix",
            name="This fix",
            cells={
                "what": "This fix",
                "result": {
                    "text": verdict(fix, fix),
                    "tone": "helper" if fix.fixed else "culprit",
                },
                "change": fix.accuracy_after - before,
                "repaired": len(fix.newly_fixed),
                "broken": len(fix.newly_broken),
            },
        )
    ]
    rows += [
        Row(
            id=control.name,
            name=control.title,
            cells={
                "what": f"Control: {control.title.lower()}",
                "result": {"text": verdict(fix, control), "tone": ""},
                "change": control.accuracy_after - before,
                "repaired": control.newly_fixed,
                "broken": control.newly_broken,
            },
        )
        for control in fix.controls
    ]
    table(
        "comparison",
        [
            Column("what", "Same steps on", "text"),
            Column("result", "This prediction" if len(fix.test_ids) == 1 else "These predictions", "chip"),
            Column("change", "Test accuracy", "points", align="right"),
            Column("repaired", "Others fixed", "count", align="right"),
            Column("broken", "Others broken", "count", align="right"),
        ],
        rows,
        caption="The fix next to its controls",
    )


def newly_fixed(opened: Opened, fix: FixRecord) -> None:
    """Other test examples that are predicted right now."""
    changed_predictions(
        opened,
        "fixed",
        "Newly fixed",
        fix.newly_fixed,
        lambda example: str(example["true"]),
        "No other prediction became right.",
        predicted_before=lambda example: fix.newly_fixed_from.get(example["id"], example["predicted"]),
    )


def newly_broken(opened: Opened, fix: FixRecord) -> None:
    """Test examples that are predicted wrong now, and as what."""
    changed_predictions(
        opened,
        "broken",
        "Newly broken",
        fix.newly_broken,
        lambda example: fix.newly_broken_as.get(example["id"], "another class"),
        "No prediction became wrong.",
        predicted_before=lambda example: str(example["true"]),
    )


def changed_predictions(
    opened: Opened,
    key: str,
    title: str,
    ids: list[str],
    predicted_now: Callable[[dict[str, Any]], str],
    empty: str,
    *,
    predicted_before: Callable[[dict[str, Any]], str] = lambda example: str(example["predicted"]),
) -> None:
    """Test examples whose prediction changed, from what to what; each opens its own investigation.

    Args:
        key: part of the table's.
        predicted_now: the class of an example, as `Project.example` describes it.
        empty: what is said where there are none.
        predicted_before: the same for before; by the original model if not given.
    """
    st.subheader(f"{title} ({len(ids):,})", anchor=False)
    known = opened.project.predictions("test")
    rows = []
    for example_id in [found for found in ids if found in known.index][:LISTED]:
        example = opened.project.example("test", example_id)
        target = {"project": opened.reference, "example": example_id}
        before, now = predicted_before(example), predicted_now(example)
        rows.append(
            Row(
                id=example_id,
                name=f"Investigate {example_id}",
                href=link("investigate", target),
                cells={
                    "input": example["input"],
                    "change": {
                        "from": before,
                        "to": now,
                        "words": "became",
                        "tones": [
                            "helper" if name == example["true"] else "culprit" for name in (before, now)
                        ],
                    },
                    "id": example_id,
                },
            )
        )
    if not rows:
        st.caption(empty)
        return
    table(
        f"side-{key}",
        [
            Column("input", "Example", "example", link=True),
            Column("change", "Before → now", "transition"),
            Column("id", "Id", "muted", align="right", minor=True),
        ],
        rows,
        caption=title,
        kind=opened.project.kind,
        thumbnail=36,
        height=LIST_HEIGHT,
        on_open=lambda example_id: go("investigate", {"project": opened.reference, "example": example_id}),
    )
    if len(ids) > LISTED:
        st.caption(f"The first {LISTED} of {len(ids):,}.")


def per_class(fix: FixRecord) -> None:
    """Accuracy of each class before and after, the largest changes first."""
    rows = sorted(fix.per_class, key=lambda line: -abs(line.after - line.before))
    table(
        "per-class",
        [
            Column("name", "Class", "text"),
            Column("before", "Before", "percent", align="right"),
            Column("after", "After", "percent", align="right"),
            Column("change", "Change", "points", align="right"),
            Column("count", "Examples", "count", align="right", minor=True),
        ],
        [
            Row(
                id=line.class_name,
                name=line.class_name,
                cells={
                    "name": line.class_name,
                    "before": line.before,
                    "after": line.after,
                    "change": line.after - line.before,
                    "count": line.count,
                },
            )
            for line in rows
        ],
        caption="Accuracy per class before and after",
    )
