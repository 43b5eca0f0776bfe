"""How far methods agree, as a table of coloured numbers."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from numpy.typing import NDArray


def agreement_heatmap(names: Sequence[str], values: NDArray, *, title: str, percent: bool) -> go.Figure:  # type: ignore[type-arg]
    """A symmetric matrix (M, M) with its numbers written into the cells."""
    words = [[f"{value:.0%}" if percent else f"{value:.2f}" for value in row] for row in values]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=list(names),
            y=list(names),
            text=words,
            texttemplate="%{text}",
            # One hue from nothing to full agreement; below zero counts as none. The numbers say the rest.
            zmin=0.0,
            zmax=1.0,
            colorscale=[[0.0, "rgba(59,130,214,0.06)"], [1.0, "rgba(59,130,214,0.75)"]],
            showscale=False,
            hovertemplate="%{y} and %{x}: %{text}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", fixedrange=True)
    figure.update_xaxes(side="top", fixedrange=True)
    figure.update_layout(
        title={"text": title, "font": {"size": 15}, "y": 0.98},
        height=120 + 44 * len(names),
        margin={"l": 8, "r": 8, "t": 84, "b": 8},
    )
    return figure
