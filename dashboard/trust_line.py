"""The trust line of an explanation, and what its numbers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from dashboard.messages import escaped
from dashboard.views.accuracy import percent

if TYPE_CHECKING:
    from attribution.explanation import Explanation


def trust_line(explanation: Explanation, unit: str) -> None:
    """Draw it: what the scores are of, what is known about them, and behind a button what that means.

    Args:
        unit: of the scores, in words; empty where there is none.
    """
    seconds = max(explanation.seconds["total"], 0.01)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="trust-line"):
        st.caption(
            f"Scores for {escaped(explanation.measurement_words)}{unit}, found in {seconds:.2f} s. "
            f"{escaped(explanation.trust['sentence'])}"
        )
        with st.popover("What this means", icon=":material/verified:", type="tertiary", key="trust-meaning"):
            for name, value, meaning in meanings(explanation):
                st.markdown(f"**{name}: {value}**")
                st.caption(meaning)


def meanings(explanation: Explanation) -> list[tuple[str, str, str]]:
    """Each signal that there is: its name, its value, and what it means."""
    trust = explanation.trust
    found = []
    for key, whose in (("checkpoint_agreement", "checkpoints"), ("model_agreement", "models")):
        if trust.get(key) is not None:
            found.append(
                (
                    f"Agreement of {whose}",
                    f"{trust[key]:.2f}",
                    f"Mean rank correlation of the scores by each of the {whose} with those by the others: 1 is the "
                    "same order, 0 none in common. Where they disagree, the order depends on chance.",
                )
            )
    if trust.get("share_of_nearest") is not None:
        found.append(
            (
                "Also look-alikes",
                percent(trust["share_of_nearest"]),
                "Share of the 20 strongest that are among the 20 most similar training examples. Few in common is no "
                "fault: it says that influence here is something else than similarity.",
            )
        )
    if trust.get("familiarity") is not None:
        found.append(
            (
                "How usual this example is",
                percent(trust["familiarity"]),
                "Share of training examples that are at least as far from their nearest other one as this test example "
                "is from its nearest. Near 0 % it is unlike anything seen in training: believe explanations less.",
            )
        )
    if trust.get("residual") is not None:
        found.append(
            (
                "Residual of the solver",
                f"{trust['residual']:.1e}",
                "How far the inverted curvature is from solving its equation, relative to the right-hand side: below "
                "1e-2 it hardly changes the order.",
            )
        )
    found.append(
        (
            "Scores",
            "exact" if trust.get("exact") else "from the index, the strongest exact",
            "The index keeps the directions in which gradients vary most; the strongest 200 are scored again with "
            "whole gradients.",
        )
    )
    lds = trust.get("lds")
    found.append(
        (
            "Fidelity against retraining (LDS)",
            "not measured" if lds is None else f"{lds:.2f}",
            "Rank correlation between predicted and real effects of training on random halves of the data. The one "
            "number that says how far a method can be believed; Trust measures it, for each method.",
        )
    )
    return found
