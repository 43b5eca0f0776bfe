"""The fix tray: in the sidebar, and on narrow screens, which hide the sidebar, as a bar at the bottom too."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from attribution.fixing import STRATEGIES, FixSettings
from attribution.projects import Edit
from dashboard.components.tray import TrayItem, tray_items
from dashboard.current import Opened
from dashboard.explaining import Question, start_fix
from dashboard.permission import may_change, refusing
from dashboard.state import go, listed
from dashboard.tray import FixTray, encoded

USUAL_STRATEGY = "suggest"
"""What the button does where nothing is chosen, as its name says."""

BAR = """<style>
div:has(> .st-key-tray-bar) { display: none; }
@media (max-width: 640px) {
  div:has(> .st-key-tray-bar) { display: block; height: 0; margin-bottom: -1rem; }
  .st-key-tray-bar {
    position: fixed; inset: auto 0 0 0; z-index: 90; padding: 0.5rem 1rem; flex-wrap: nowrap;
    background: Canvas; border-top: 1px solid color-mix(in srgb, CanvasText 18%, transparent);
  }
  [data-testid="stMainBlockContainer"] { padding-bottom: 5rem; }
}
</style>"""


def tray_of(opened: Opened, question: Question) -> FixTray:
    """The tray of these test examples in this session."""
    ids = opened.project.predictions("train").index
    return FixTray(_owner(opened, question), ids, opened.project.class_names)


def _owner(opened: Opened, question: Question) -> str:
    return f"{opened.reference} {listed(question.example_ids)}"


def draw_tray(opened: Opened, question: Question, *, fixable: bool) -> None:
    """Draw the tray: items, undo and redo, note, recipe, and the button that previews.

    Args:
        fixable: whether the test examples are mispredictions.
    """
    tray = tray_of(opened, question)
    edits = tray.edits
    why_not = _why_not(fixable)
    with st.sidebar:
        with st.container(
            horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", gap="small"
        ):
            st.subheader(f"Fix tray ({len(edits)})", anchor=False)
            with st.container(horizontal=True, width="content", gap="xsmall"):
                st.button(
                    "Undo",
                    key="tray-undo",
                    on_click=tray.undo,
                    disabled=not tray.can_undo,
                    shortcut="u",
                    type="tertiary",
                    icon=":material/undo:",
                )
                st.button(
                    "Redo",
                    key="tray-redo",
                    on_click=tray.redo,
                    disabled=not tray.can_redo,
                    type="tertiary",
                    icon=":material/redo:",
                )
        st.button(
            "Suggest & preview",
            key="suggest-preview",
            type="primary",
            width="stretch",
            icon=":material/science:",
            shortcut="f",
            disabled=why_not is not None,
            help=why_not,
            on_click=_preview,
            args=(opened, question),
        )
        about = st.container()
        if edits:
            _items(opened, tray, edits)
        st.text_input(
            "Note", key=_note_key(opened, question), placeholder="Why this fix", persist_state="session"
        )
        recipe = _recipe()
        if edits:
            about.caption("Fine-tunes a copy of the model on these, with two controls beside it.")
        else:
            about.caption(f"Nothing chosen: {STRATEGIES[recipe.strategy]}, or choose cards yourself.")
    _bar(opened, question, tray, edits, fixable=why_not is None)


def _why_not(fixable: bool) -> str | None:
    """Why nothing can be previewed here; None where it can."""
    if not fixable:
        return "This example is predicted right: there is nothing to fix."
    return (
        None if may_change() else "This dashboard is read-only for you: choosing is free, previewing is not."
    )


def _bar(opened: Opened, question: Question, tray: FixTray, edits: Sequence[Edit], *, fixable: bool) -> None:
    """What of the tray a narrow screen needs in view: how much is chosen, and the button that previews."""
    st.html(BAR)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="tray-bar"):
        with st.popover(f"Fix tray ({len(edits)})", width="stretch"):
            if edits:
                _items(opened, tray, edits, key="tray-bar-items")
            else:
                st.caption("Nothing chosen yet: a preview takes what the strategy suggests.")
        st.button(
            "Suggest & preview",
            key="bar-preview",
            type="primary",
            width="stretch",
            icon=":material/science:",
            disabled=not fixable,
            on_click=_preview,
            args=(opened, question),
        )


def _items(opened: Opened, tray: FixTray, edits: Sequence[Edit], *, key: str = "tray-items") -> None:
    described = {card["id"]: card for card in opened.project.describe("train", [e.train_id for e in edits])}
    tray_items(
        key,
        [
            TrayItem(
                id=edit.train_id,
                input=described[edit.train_id]["input"],
                own_label=described[edit.train_id]["label"],
                action=edit.action,
                label=edit.label,
            )
            for edit in edits
        ],
        kind=opened.project.kind,
        classes=opened.project.class_names,
        on_change=tray.set,
    )


def _recipe() -> FixSettings:
    with st.expander("Recipe", icon=":material/tune:"):
        st.radio(
            "Strategy, where nothing is chosen",
            list(STRATEGIES),
            index=list(STRATEGIES).index(USUAL_STRATEGY),
            captions=list(STRATEGIES.values()),
            key="recipe-strategy",
            persist_state="session",
        )
        st.number_input("Examples", 1, 50, FixSettings.top, key="recipe-top", persist_state="session")
        st.number_input(
            "Steps at most", 1, 200, FixSettings.steps, key="recipe-steps", persist_state="session"
        )
        st.number_input("Seed", 0, 10_000, FixSettings.seed, key="recipe-seed", persist_state="session")
        st.number_input(
            "Break at most",
            0,
            None,
            FixSettings.guard,
            key="recipe-guard",
            placeholder="no limit",
            help="The fix stops before more other test predictions than this would break.",
            persist_state="session",
        )
    return _chosen_recipe()


def _chosen_recipe() -> FixSettings:
    """The recipe as its widgets stand, also inside a callback, whose arguments would be those of the last run."""
    state = st.session_state
    return FixSettings(
        strategy=state.get("recipe-strategy") or USUAL_STRATEGY,
        top=int(state.get("recipe-top") or FixSettings.top),
        steps=int(state.get("recipe-steps") or FixSettings.steps),
        seed=int(state.get("recipe-seed") or FixSettings.seed),
        guard=None if state.get("recipe-guard") is None else int(state["recipe-guard"]),
    )


def _note_key(opened: Opened, question: Question) -> str:
    return f"note of {_owner(opened, question)}"


@refusing
def _preview(opened: Opened, question: Question) -> None:
    edits = tray_of(opened, question).edits
    note = str(st.session_state.get(_note_key(opened, question)) or "").strip()
    job = start_fix(opened, question, edits, _chosen_recipe(), note)
    go("preview", question.parameters(opened) | {"job": job.id, "tray": encoded(edits)})
