"""Mispredictions as points among the right predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from attribution.maps.example_map import ExampleMap
from dashboard.views.look import Look
from dashboard.views.map_figure import (
    FAINT,
    INK,
    OTHERS,
    groups_of,
    hover_words,
    inert,
    map_layout,
    marks,
    name_classes,
    ring_points,
    scatter_kind,
)

MOST_CONTEXT = 2000
"""Right predictions that are drawn."""


@dataclass(frozen=True)
class ErrorPoints:
    """What the map of errors shows.

    Args:
        errors: mispredictions as `views.mispredictions.misprediction_table` has them, by id.
        positions: of their rows in the test data.
        context: positions of right predictions.
        ids: of all test examples.
        labels: class numbers of all test examples.
        groups: what each of the errors is coloured by, in words.
        texts: of all test examples by id; None where they are none.
    """

    errors: pd.DataFrame
    positions: NDArray[np.int64]
    context: NDArray[np.int64]
    ids: Sequence[str]
    labels: NDArray[np.integer]
    groups: Sequence[str]
    texts: pd.Series | None = None


def error_map(
    found: ExampleMap,
    points: ErrorPoints,
    class_names: Sequence[str],
    *,
    ticked: Sequence[str],
    look: Look,
    view: str = "",
) -> go.Figure:
    """The figure: errors by colour and symbol, those ticked in a ring, right predictions faint, class names in place.

    Every point carries its id; points without a place in the map are left out.
    """
    has_place = ~np.isnan(found.test[:, 0])
    context = points.context[has_place[points.context]]
    kind = scatter_kind(len(context) + len(points.errors), look)
    figure = go.Figure()
    figure.add_trace(
        kind(
            x=found.test[context, 0],
            y=found.test[context, 1],
            customdata=[points.ids[p] for p in context],
            hovertext=[
                hover_words(points.ids[p], f"{class_names[int(points.labels[p])]}, predicted right")
                for p in context
            ],
            name="predicted right",
            mode="markers",
            marker={"size": 5, "color": FAINT[look.dark], "line": {"width": 0}},
            selected={"marker": {"opacity": 0.6}},
            unselected={"marker": {"opacity": 0.3}},
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )
    group_by_name = groups_of(points.groups)
    order = list(dict.fromkeys(group_by_name[name] for name in points.groups))
    order = [group for group in order if group != OTHERS] + [OTHERS] * (OTHERS in order)
    mark = marks(order, look)
    drawn = np.array([group_by_name[name] for name in points.groups], dtype=object)
    placed = has_place[points.positions]
    for group in sorted(order, key=lambda group: group != OTHERS):  # those without a colour lie beneath
        rows = np.flatnonzero((drawn == group) & placed)
        colour, symbol = mark[group]
        figure.add_trace(
            kind(
                x=found.test[points.positions[rows], 0],
                y=found.test[points.positions[rows], 1],
                customdata=[str(points.errors.index[row]) for row in rows],
                hovertext=[_error_words(points, int(row)) for row in rows],
                name=inert(_short(group)) or "other",
                legendrank=1001 if group == OTHERS else 1000,
                mode="markers",
                marker={
                    "size": 7 if group == OTHERS else 10,
                    "color": colour,
                    "symbol": symbol,
                    "line": {"width": 1, "color": INK[not look.dark]},
                },
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 0.35}},
                hovertemplate="%{hovertext}<extra></extra>",
            )
        )
    place = {str(name): row for row, name in enumerate(points.errors.index)}
    rings = [place[one] for one in ticked if one in place and placed[place[one]]]
    if rings:
        ring_points(figure, kind, found.test[points.positions[rings]], name="ticked", size=17, look=look)
    name_classes(figure, kind, found.test[context], points.labels[context], class_names, look)
    map_layout(figure, found, view)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:39] + "…"


def _error_words(points: ErrorPoints, row: int) -> str:
    example_id = str(points.errors.index[row])
    line = points.errors.iloc[row]
    text = None if points.texts is None else str(points.texts.loc[example_id])
    facts = [f"{line['true']} → {line['predicted']}, {line['confidence']:.0%} sure"]
    if points.groups[row] not in (line["true"], line["predicted"], OTHERS):
        facts.append(points.groups[row][:60])
    return hover_words(example_id, *facts, text=text)


def grouped(errors: pd.DataFrame, by: str, clusters: Mapping[str, str]) -> list[str]:
    """What each error is coloured by: its predicted or true class, or the name of its cluster.

    Args:
        by: "predicted", "true" or "cluster".
        clusters: name of the cluster of a test id.
    """
    if by == "cluster":
        return [clusters.get(str(example_id), OTHERS) for example_id in errors.index]
    return [str(name) for name in errors[by]]
