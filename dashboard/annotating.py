"""Notes and tags of examples: shared with everybody who opens the project."""

from __future__ import annotations

import streamlit as st

from attribution.projects.annotations import MOST_TAGS, Annotation
from dashboard.current import Opened
from dashboard.messages import calm
from dashboard.permission import may_change

LONGEST_NOTE = 2000


def tags_of(opened: Opened, split: str) -> dict[str, list[str]]:
    """Tags by id, of the examples that have some."""
    found = opened.project.history.annotations(split)
    return {example_id: annotation.tags for example_id, annotation in found.items() if annotation.tags}


def annotation_button(opened: Opened, split: str, example_id: str) -> None:
    """A button that shows and edits the note and the tags of an example."""
    stored = opened.project.history.annotations(split)
    here = stored.get(example_id, Annotation())
    known = sorted({tag for annotation in stored.values() for tag in annotation.tags})
    name = f"{split}-{example_id}"
    words = "Note & tags" + (f" ({len(here.tags) + bool(here.note)})" if not here.empty else "")
    with st.popover(words, icon=":material/sell:", key=f"annotate-{name}"), calm():
        tags = st.multiselect(
            "Tags",
            known,
            default=here.tags,
            key=f"tags-{name}-{here.changed}",
            accept_new_options=True,
            max_selections=MOST_TAGS,
            placeholder="Choose or type",
        )
        note = st.text_area("Note", here.note, key=f"note-{name}-{here.changed}", max_chars=LONGEST_NOTE)
        if st.button("Save", key=f"save-{name}", type="primary", disabled=not may_change()):
            opened.project.history.annotate(split, example_id, Annotation.written(note, tags))
            st.rerun()
