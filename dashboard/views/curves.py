"""Figures of a fix, for plotly. Colours are legible on light and dark; line styles say the same as colours."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from attribution.projects.records import CurvePoint, FixRecord

TRUE_COLOUR = "#3b82d6"
PREDICTED_COLOUR = "#e07a26"

PANEL_HEIGHT = 350
"""CSS pixels."""

TITLE_WIDTH = 14
"""Characters in a line of a panel's title: three panels stand side by side on a phone too."""


def probability_curves(fix: FixRecord) -> go.Figure:
    """Probability of the true and of the originally predicted class after each step: the fix, then each control."""
    runs = [("This fix", fix.probability_per_step)]
    runs += [(control.title, control.probability_per_step) for control in fix.controls]
    figure = make_subplots(
        rows=1,
        cols=len(runs),
        shared_yaxes=True,
        subplot_titles=["<br>".join(wrap(title, TITLE_WIDTH)) for title, _ in runs],
        horizontal_spacing=0.04,
    )
    longest = max(len(points) for _, points in runs) - 1
    for column, (_, points) in enumerate(runs, start=1):
        for trace in _traces(fix, points, first=column == 1):
            figure.add_trace(trace, row=1, col=column)
    figure.update_xaxes(
        title_text="step",
        range=[-0.02 * max(longest, 1), max(longest, 1) * 1.02],
        tickformat="d",
        nticks=6,
        fixedrange=True,
    )
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%", fixedrange=True)
    figure.update_annotations(font_size=12)
    figure.update_layout(
        height=PANEL_HEIGHT,
        margin={"l": 8, "r": 8, "t": 64, "b": 8},
        legend={"orientation": "h", "yanchor": "top", "y": -0.24, "x": 0},
        hovermode="x unified",
    )
    return figure


def _traces(fix: FixRecord, points: Sequence[CurvePoint], *, first: bool) -> list[go.Scatter]:
    steps = [point.step for point in points]
    mode = "lines+markers" if len(steps) <= 12 else "lines"
    return [
        go.Scatter(
            x=steps,
            y=[point.true for point in points],
            name=f"true class {_plain(fix.true)}" if len(fix.test_ids) == 1 else "true class, mean",
            legendgroup="true",
            showlegend=first,
            mode=mode,
            line={"color": TRUE_COLOUR, "width": 2.5},
            marker={"symbol": "circle", "size": 6},
        ),
        go.Scatter(
            x=steps,
            y=[point.predicted_before for point in points],
            name=f"predicted before {_plain(fix.before.predicted)}"
            if len(fix.test_ids) == 1
            else "class predicted before, mean",
            legendgroup="predicted",
            showlegend=first,
            mode=mode,
            line={"color": PREDICTED_COLOUR, "width": 2.5, "dash": "dot"},
            marker={"symbol": "diamond", "size": 6},
        ),
    ]


def _plain(name: str) -> str:
    """A class name in a label of plotly, which would read a little HTML."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
