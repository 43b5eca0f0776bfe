"""How far methods agree, as a table of coloured numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

BLUE = {False: "59,130,214", True: "70,140,230"}
TEXT = {False: "#18212c", True: "#e7ecf2"}


def agreement_heatmap(
    titles: Sequence[str], values: NDArray[np.float64], *, title: str, percent: bool, dark: bool
) -> go.Figure:
    """A symmetric matrix (M, M) with its numbers written into the cells; methods are numbered from 1."""
    numbers = [str(number) for number in range(1, len(titles) + 1)]
    words = [[f"{value:.0%}" if percent else f"{value:.2f}" for value in row] for row in values]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=numbers,
            y=[f"{name}  {number}" for name, number in zip(titles, numbers, strict=True)],
            text=words,
            texttemplate="%{text}",
            # Chosen here, because plotly takes what lies below a translucent cell for white.
            textfont={"color": TEXT[dark], "size": 13},
            xgap=2,
            ygap=2,
            # One hue from nothing to full agreement; below zero counts as none. The numbers say the rest.
            zmin=0.0,
            zmax=1.0,
            colorscale=[[0.0, f"rgba({BLUE[dark]},0.06)"], [1.0, f"rgba({BLUE[dark]},0.6)"]],
            showscale=False,
            hovertemplate="%{y} with %{x}: %{text}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", fixedrange=True, showgrid=False, automargin=True)
    figure.update_xaxes(side="top", fixedrange=True, showgrid=False, type="category")
    figure.update_layout(
        title={"text": title, "font": {"size": 15}, "y": 0.98},
        height=92 + 40 * len(titles),
        margin={"l": 8, "r": 8, "t": 64, "b": 8},
    )
    return figure
