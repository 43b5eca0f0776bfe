"""How foresight fades as training goes on, for plotly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from attribution.projects.study_records import BELIEVABLE
from dashboard.views.look import Look
from dashboard.views.map_figure import COLOURS, OTHER_COLOUR, SYMBOLS
from dashboard.views.studies import BASELINE

if TYPE_CHECKING:
    from attribution.projects.study_records import FadingRecord

HEIGHT = 320
"""CSS pixels."""


def fading_figure(study: FadingRecord, titles: Mapping[str, str], look: Look) -> go.Figure:
    """The correlation of each method's scores with real effects after each number of steps, with standard errors."""
    figure = go.Figure()
    own = [name for name in study.methods if name != BASELINE]
    for name, found in study.methods.items():
        place = own.index(name) % len(SYMBOLS) if name in own else None
        colour = OTHER_COLOUR[look.dark] if place is None else COLOURS[look.dark][place]
        figure.add_trace(
            go.Scatter(
                x=study.steps,
                y=found.pearson,
                name=titles.get(name, name),
                mode="lines+markers",
                line={"color": colour, "width": 2, "dash": "dot" if place is None else "solid"},
                marker={"symbol": "circle" if place is None else SYMBOLS[place], "size": 8},
                error_y={"type": "data", "array": found.standard_error, "thickness": 1, "width": 3},
                hovertemplate="%{y:.2f}",
            )
        )
    figure.add_hline(y=BELIEVABLE, line={"color": "gray", "width": 1, "dash": "dash"})
    figure.update_xaxes(
        title_text="further steps of training",
        type="log",
        tickvals=study.steps,
        ticktext=[f"{step:,}" for step in study.steps],
        fixedrange=True,
    )
    figure.update_yaxes(title_text="correlation of score and effect", fixedrange=True, zeroline=True)
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        hovermode="x unified",
    )
    return figure
