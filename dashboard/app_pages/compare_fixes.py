"""Compare fixes: two kept fixes or previews side by side, and which of them does less harm."""

from __future__ import annotations

import streamlit as st

from attribution.errors import TracefixError
from attribution.projects import FixRecord
from dashboard.chart import chart
from dashboard.components.table import Column, Row, table
from dashboard.current import Opened, current_project
from dashboard.fix_panels import changed_predictions, curves_of, fix_outcome
from dashboard.heading import page_heading
from dashboard.messages import escaped, stop_with, way_out
from dashboard.state import parameter
from dashboard.views.fix_comparison import (
    LETTERS,
    Overlap,
    action_words,
    became_as,
    became_right,
    became_wrong,
    done_differently,
    edits_overlap,
    facts,
    less_harm,
    purpose_sentence,
)

EXAMPLES_HEIGHT = 300
"""CSS pixels of a list of training examples; it scrolls beyond."""


def back(opened: Opened) -> None:
    """The way out."""
    way_out(
        "History", "history", {"project": opened.reference}, key="exit-fixes", icon=":material/arrow_back:"
    )


def fixes_of_url(opened: Opened) -> tuple[FixRecord, FixRecord]:
    """The two fixes that the URL names; otherwise a message, and the page ends here."""
    ids = [part for part in (parameter("fixes") or "").split(",") if part]
    if len(set(ids)) != 2:
        page_heading(opened, "Compare fixes")
        st.info("Choose Compare on two fixes in the history.", icon=":material/balance:")
        back(opened)
        st.stop()
    try:
        first, second = (opened.project.history.get(fix_id) for fix_id in ids)
    except TracefixError as error:
        stop_with(str(error), title="These fixes cannot be compared", exits=lambda: back(opened))
    return first, second


def beliefs(opened: Opened, pair: tuple[FixRecord, FixRecord]) -> None:
    """What each fix made of its example, and how its probability went."""
    for column, letter, fix in zip(st.columns(2, gap="large"), LETTERS, pair, strict=True):
        with column:
            st.subheader(f"Fix {letter}", anchor=False)
            fix_outcome(
                opened,
                fix,
                key=letter,
                caption=f"What became of each prediction of fix {letter}",
                size=80,
            )
            chart(
                curves_of(fix, fix.fix_id),
                key=f"curves-{letter}",
                alt=f"Probability of the true and the originally predicted class after each step of fix {letter}",
            )
            way_out(
                f"Open fix {letter}",
                "preview",
                {"project": opened.reference, "fix": fix.fix_id},
                key=f"open-{letter}",
            )


def recipes(pair: tuple[FixRecord, FixRecord]) -> None:
    """Recipe and result, line by line."""
    table(
        "facts",
        [Column("what", "", "muted"), Column("A", "Fix A", "text"), Column("B", "Fix B", "text")],
        [Row(id=what, name=what, cells={"what": what, "A": a, "B": b}) for what, a, b in facts(*pair)],
        caption="Recipe and result of the two fixes",
    )


def training_examples(opened: Opened, pair: tuple[FixRecord, FixRecord]) -> None:
    """The examples that the fixes have in common, and those that only one has."""
    st.header("Training examples", anchor=False)
    overlap = edits_overlap(*pair)
    differently = set(done_differently(*pair))
    groups = [("In both", overlap.both, pair[0])]
    groups += [
        (f"Only in {letter}", ids, fix) for letter, ids, fix in zip(LETTERS, overlap.only, pair, strict=True)
    ]
    for column, (title, ids, fix) in zip(st.columns(3, gap="medium"), groups, strict=True):
        with column:
            st.subheader(f"{title} ({len(ids)})", anchor=False)
            example_list(opened, title, ids, fix, differently)


def example_list(opened: Opened, title: str, ids: list[str], fix: FixRecord, differently: set[str]) -> None:
    """Training examples with what is done with them."""
    present = [train_id for train_id in ids if train_id in opened.project.predictions("train").index]
    if not present:
        st.caption("None.")
        return
    done = {edit.train_id: action_words(edit) for edit in fix.edits}
    table(
        f"examples-{title}",
        [
            Column("input", "Example", "example"),
            Column("label", "Label", "word"),
            Column("done", "Done with it", "text"),
        ],
        [
            Row(
                id=card["id"],
                name=card["id"],
                cells={
                    "input": card["input"],
                    "label": card["label"],
                    "done": "not the same" if card["id"] in differently else done[card["id"]],
                },
            )
            for card in opened.project.describe("train", present)
        ],
        caption=f"Training examples: {title.lower()}",
        kind=opened.project.kind,
        thumbnail=36,
        height=EXAMPLES_HEIGHT,
    )


def changes(opened: Opened, pair: tuple[FixRecord, FixRecord]) -> None:
    """The predictions that either fix changed, by whether the other one did so too."""
    st.header("Predictions that changed", anchor=False)
    st.caption("Against the original model, the examples that the fixes were made for included.")
    for became, word in ((became_wrong, "Broken"), (became_right, "Fixed")):
        overlap = Overlap.of(became(pair[0]), became(pair[1]))
        groups = [(f"{word} by both", overlap.both, pair[0])]
        groups += [
            (f"{word} by {letter} only", ids, fix)
            for letter, ids, fix in zip(LETTERS, overlap.only, pair, strict=True)
        ]
        for column, (title, ids, fix) in zip(st.columns(3, gap="medium"), groups, strict=True):
            with column:
                changed_predictions(
                    opened,
                    title.lower(),
                    title,
                    ids,
                    lambda example, fix=fix, right=word == "Fixed": (  # type: ignore[misc]
                        example["true"] if right else became_as(fix).get(example["id"], "another class")
                    ),
                    "None.",
                )


opened = current_project()
pair = fixes_of_url(opened)
with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
    page_heading(opened, "Compare fixes", "both are a few steps, not a retrain")
    back(opened)
purpose = purpose_sentence(*pair)
if purpose is not None:
    st.info(purpose, icon=":material/info:")
verdict, numbers = less_harm(*pair, total=len(opened.project.predictions("test")))
st.markdown(f"**{escaped(verdict)}** {escaped(numbers)}")
recipes(pair)
beliefs(opened, pair)
training_examples(opened, pair)
changes(opened, pair)
