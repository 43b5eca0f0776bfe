"""Training examples held in view beside the one in question, to be compared. The URL says which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from dashboard.annotating import annotation_button
from dashboard.components.belief import belief
from dashboard.current import Opened
from dashboard.state import listed, parameter, set_parameters, unlisted

if TYPE_CHECKING:
    from attribution.explanation import Explanation

MOST_PINNED = 2


def pinned_of(opened: Opened) -> list[str]:
    """The training ids that are pinned, of those that the project has."""
    known = opened.project.predictions("train").index
    return [one for one in unlisted(parameter("pins")) if one in known][:MOST_PINNED]


def pin_or_not(opened: Opened, train_id: str) -> None:
    """Callback: pin an example, or take it off; of more than two the first goes."""
    pins = pinned_of(opened)
    pins = [one for one in pins if one != train_id] if train_id in pins else [*pins, train_id][-MOST_PINNED:]
    set_parameters(pins=listed(pins))


def draw_pinned(opened: Opened, explanation: Explanation) -> None:
    """What is pinned, side by side: input, label, what the model says, score, likeness."""
    pins = pinned_of(opened)
    if not pins:
        return
    table = opened.project.predictions("train")
    names = opened.project.class_names
    with st.container(border=True, key="pinned-examples"):
        for train_id, place in zip(pins, st.columns(MOST_PINNED, gap="medium"), strict=False):
            row = table.loc[train_id]
            label, predicted = names[int(row["label"])], names[int(row["predicted"])]
            position = opened.project.position("train", train_id)
            with place:
                belief(
                    f"pinned-{train_id}",
                    {name: float(row[f"p_{number}"]) for number, name in enumerate(names)},
                    true=label,
                    predicted=predicted,
                    title=f"Training example {train_id}",
                    example_id=train_id,
                    input=str(opened.project.describe("train", [train_id])[0]["input"]),
                    kind=opened.project.kind,
                    size=112,
                )
                st.caption(
                    f"Score {float(explanation.scores[position]):+.3g}, loss {float(row['loss']):.2f} nats"
                )
                with st.container(horizontal=True):
                    annotation_button(opened, "train", train_id)
                    st.button("Unpin", key=f"unpin-{train_id}", on_click=pin_or_not, args=(opened, train_id))
        likeness = _likeness(explanation, [opened.project.position("train", one) for one in pins])
        if likeness is not None:
            st.caption(f"The two are alike to {likeness:.2f} (cosine of their representations).")


def _likeness(explanation: Explanation, positions: list[int]) -> float | None:
    if explanation.representations is None or len(positions) < 2:
        return None
    first, second = (explanation.representations[p].astype(np.float64) for p in positions)
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12))
