"""Predicted beside actual change of the margin, for plotly."""

from __future__ import annotations

import plotly.graph_objects as go

from attribution.projects import VerificationRecord
from dashboard.views.curves import PREDICTED_COLOUR, TRUE_COLOUR

HEIGHT = 190
"""CSS pixels."""

_PREDICTED, _ACTUAL = "predicted", "retrained"


def verification_figure(record: VerificationRecord) -> go.Figure:
    """The prediction as a mark, the retrained change as its mean with the 95 % interval, and one point per seed."""
    actual = record.actual
    half = None if actual.interval is None else (actual.interval[1] - actual.interval[0]) / 2
    figure = go.Figure(
        [
            go.Scatter(
                x=[record.predicted],
                y=[_PREDICTED],
                name="predicted",
                mode="markers",
                marker={"symbol": "diamond", "size": 13, "color": PREDICTED_COLOUR},
                hovertemplate="predicted %{x:+.2f}<extra></extra>",
            ),
            go.Scatter(
                x=actual.per_seed,
                y=[_ACTUAL] * len(actual.per_seed),
                name="each seed",
                mode="markers",
                marker={"symbol": "circle-open", "size": 10, "color": TRUE_COLOUR, "line": {"width": 1.5}},
                customdata=[str(seed) for seed in record.seeds],
                hovertemplate="seed %{customdata}: %{x:+.2f}<extra></extra>",
            ),
            go.Scatter(
                x=[actual.mean],
                y=[_ACTUAL],
                name="mean with 95 % interval",
                mode="markers",
                marker={"symbol": "line-ns-open", "size": 20, "color": TRUE_COLOUR, "line": {"width": 3}},
                error_x=None
                if half is None
                else {"type": "data", "array": [half], "color": TRUE_COLOUR, "thickness": 3, "width": 8},
                hovertemplate="mean %{x:+.2f}<extra></extra>",
            ),
        ]
    )
    figure.add_vline(x=0, line={"color": "gray", "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="change of the margin (less is better)", fixedrange=True, zeroline=False)
    figure.update_yaxes(
        fixedrange=True, categoryorder="array", categoryarray=[_ACTUAL, _PREDICTED], showgrid=False
    )
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
    )
    return figure
