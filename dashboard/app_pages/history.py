"""History: every kept fix with its recipe, result and note; reopen, annotate, delete with undo."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import streamlit as st

from attribution.errors import TracefixError
from attribution.projects import FixRecord
from dashboard.components.table import Column, Row, table
from dashboard.current import Opened, current_project
from dashboard.downloads import downloads, start_download
from dashboard.heading import page_heading
from dashboard.messages import calm, escaped, problem, stop_with, way_out
from dashboard.permission import may_change, refusing
from dashboard.state import go, link
from dashboard.story import story_parameters
from dashboard.views.fixes import result_chip, subject

DELETED = "deleted fix"
ANNOTATED = "fix whose note is open"
CARRIED = "fix that is downloaded"
MARKED = "fix to compare with another"
LONGEST_NOTE = 2000
READING = ("story", "compare", "report")
ACTIONS = {
    "compare": "Compare",
    "story": "Story",
    "report": "Report",
    "export": "Export",
    "note": "Note",
    "delete": "Delete",
}


@refusing
def act(opened: Opened, name: str, fix_id: str) -> None:
    """Callback of the buttons in a row."""
    if name == "delete":
        opened.project.history.delete(fix_id)
        st.session_state[DELETED] = (opened.reference, fix_id)
    elif name == "note":
        st.session_state[ANNOTATED] = fix_id
    elif name in ("report", "export"):
        st.session_state[CARRIED] = fix_id
        start_download(opened, fix_id, name)
    elif name == "compare":
        compare(opened, fix_id)
    elif name == "story":
        go("preview", story_parameters(opened, fix_id))


def compare(opened: Opened, fix_id: str) -> None:
    """Mark a fix, or compare it with the one that is marked."""
    marked = marked_fix(opened)
    if marked is None:
        st.session_state[MARKED] = (opened.reference, fix_id)
        return
    forget_mark()
    if marked != fix_id:
        go("compare_fixes", {"project": opened.reference, "fixes": f"{marked},{fix_id}"})


def marked_fix(opened: Opened) -> str | None:
    """The fix that waits for another one to be compared with."""
    reference, fix_id = st.session_state.get(MARKED, (None, None))
    return str(fix_id) if reference == opened.reference and fix_id is not None else None


def forget_mark() -> None:
    """Callback: compare nothing after all."""
    st.session_state.pop(MARKED, None)


def compare_bar(marked: FixRecord) -> None:
    """Says that a second fix is to be chosen."""
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="compare-bar"):
        st.markdown(
            f":material/balance: Choose the fix to compare with that of {escaped(subject(marked))}.",
            width="content",
        )
        st.button("Cancel", key="cancel-compare", on_click=forget_mark, icon=":material/close:")


@refusing
def restore(opened: Opened, fix_id: str) -> None:
    """Callback: bring a deleted fix back."""
    opened.project.history.restore(fix_id)
    st.session_state.pop(DELETED, None)


def close_note() -> None:
    """Callback: the note was dismissed."""
    st.session_state.pop(ANNOTATED, None)


@st.dialog("Note", on_dismiss=close_note)
def edit_note(opened: Opened, fix: FixRecord) -> None:
    """Change the note of a fix."""
    with calm():
        st.caption(f"Fix of {escaped(subject(fix))}")
        note = st.text_area("Note", fix.note, key=f"note-{fix.fix_id}", max_chars=LONGEST_NOTE)
        if st.button("Save", key="save-note", type="primary"):
            opened.project.history.set_note(fix.fix_id, note.strip())
            close_note()
            st.rerun()


def undo_bar(opened: Opened) -> None:
    """Offers to bring back what was deleted last."""
    reference, fix_id = st.session_state.get(DELETED, (None, None))
    if reference != opened.reference or fix_id is None:
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="undo-bar"):
        st.markdown(":material/delete: The fix was deleted.", width="content")
        st.button("Undo", key="undo-delete", on_click=restore, args=(opened, fix_id), icon=":material/undo:")


def actions(opened: Opened, fix: FixRecord) -> list[dict[str, str]]:
    """The buttons of a row."""
    allowed = ACTIONS if may_change() else READING
    labels = {name: ACTIONS[name] for name in allowed}
    marked = marked_fix(opened)
    if marked is not None:
        labels["compare"] = "Chosen" if marked == fix.fix_id else "Compare with it"
    return [{"name": name, "label": label} for name, label in labels.items()]


def row_of(opened: Opened, fix: FixRecord) -> Row:
    """One kept fix."""
    together = f"{len(fix.test_ids)} together, " if len(fix.test_ids) > 1 else ""
    cells: dict[str, Any] = {
        "example": "",
        "prediction": {
            "from": fix.before.predicted,
            "to": fix.after.predicted,
            "words": "became",
            "tones": ["culprit", "helper" if fix.after.predicted == fix.true else "culprit"],
        },
        "result": {"text": result_chip(fix), "tone": "helper" if fix.fixed else ""},
        "change": fix.accuracy_after - fix.accuracy_before,
        "recipe": f"{together}{fix.strategy}, {len(fix.edits)} examples, {fix.method}, seed {fix.seed}, {fix.device}"
        + on_top_of(opened, fix),
        "note": fix.note,
        "when": datetime.fromisoformat(fix.created).astimezone().strftime("%Y-%m-%d %H:%M")
        + (f", kept by {fix.kept_by}" if fix.kept_by else ""),
        "actions": actions(opened, fix),
    }
    if fix.test_id in opened.project.predictions("test").index:
        cells["example"] = opened.project.example("test", fix.test_id)["input"]
    return Row(
        id=fix.fix_id,
        name=f"Fix of {subject(fix)}",
        href=link("preview", {"project": opened.reference, "fix": fix.fix_id}),
        cells=cells,
    )


def on_top_of(opened: Opened, fix: FixRecord) -> str:
    """What a fix stands on, to follow its recipe; nothing where it starts from the original model."""
    if fix.base is None:
        return ""
    try:
        base = opened.project.history.stack(fix.base)[-1]
    except TracefixError:
        return f"; on top of {fix.base}, which is gone"
    return f"; on top of the fix of {subject(base)}"


def fix_table(opened: Opened, fixes: list[FixRecord]) -> None:
    """All kept fixes, newest first; a click on a row opens it again."""
    table(
        "history",
        [
            Column("example", "Example", "example", link=True),
            Column("prediction", "Prediction", "transition"),
            Column("result", "Result", "chip"),
            Column("change", "Test accuracy", "points", align="right"),
            Column("recipe", "Recipe", "muted", minor=True),
            Column("note", "Note", "text", minor=True),
            Column("when", "Made", "muted", minor=True),
            Column("actions", "", "actions", align="right"),
        ],
        [row_of(opened, fix) for fix in fixes],
        caption="Kept fixes: activate a row to open it again",
        kind=opened.project.kind,
        on_open=lambda fix_id: go("preview", {"project": opened.reference, "fix": fix_id}),
        on_act=lambda name, fix_id: act(opened, name, fix_id),
    )


opened = current_project()
page_heading(opened, "History", "kept fixes, newest first")
try:
    fixes = opened.project.history.list()
except TracefixError as error:
    stop_with(str(error), title="The history cannot be read")
undo_bar(opened)
marked = [fix for fix in fixes if fix.fix_id == marked_fix(opened)]
if marked:
    compare_bar(marked[0])
carried = [fix for fix in fixes if fix.fix_id == st.session_state.get(CARRIED)]
if carried:
    with st.container(border=True, key="download-bar"):
        st.caption(f"Fix of {escaped(subject(carried[0]))}")
        downloads(opened, carried[0])
if fixes:
    fix_table(opened, fixes)
else:
    st.info("No fix is kept yet: preview one and press Keep.", icon=":material/history:")
    way_out("Mispredictions", "mispredictions", {"project": opened.reference}, key="exit-empty")

annotated = st.session_state.get(ANNOTATED)
if annotated is not None:
    chosen = [fix for fix in fixes if fix.fix_id == annotated]
    if chosen:
        edit_note(opened, chosen[0])
    else:
        close_note()
        problem("That fix is no longer in the history.")
