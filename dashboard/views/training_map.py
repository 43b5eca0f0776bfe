"""The training data as points, with the influential examples of one prediction lit and tied to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from attribution.maps.example_map import ExampleMap
from dashboard.views.look import Look
from dashboard.views.map_figure import (
    CULPRIT,
    FAINT,
    HELPER,
    INK,
    hover_words,
    map_layout,
    name_classes,
    ring_points,
    scatter_kind,
)

SMALLEST, LARGEST = 8.0, 26.0
"""Diameters of the weakest and the strongest, in CSS pixels; areas go with scores."""

TIED = 5
"""Strongest of each side that a line ties to the test example."""


@dataclass(frozen=True)
class LitExample:
    """An influential training example: row in the data, score, label, whether it looks mislabelled, its text if any."""

    id: str
    position: int
    score: float
    label: str
    suspected: bool
    text: str | None = None


def training_map(
    found: ExampleMap,
    *,
    ids: Sequence[str],
    labels: NDArray[np.integer],
    class_names: Sequence[str],
    shown: NDArray[np.int64],
    lit: Sequence[LitExample],
    queries: Sequence[tuple[str, int]],
    chosen: Sequence[int],
    look: Look,
    view: str = "",
) -> go.Figure:
    """The figure. Every training example carries its id.

    Args:
        ids, labels: of all training examples.
        shown: positions of those that are drawn faintly.
        lit: the influential ones, strongest first.
        queries: id and position of each test example.
        chosen: positions of those in the fix tray, which get a ring.
    """
    bright = {one.position for one in lit}
    faint = np.array([p for p in shown if p not in bright], dtype=np.int64)
    kind = scatter_kind(len(faint) + len(lit), look)
    figure = go.Figure()
    names = [class_names[int(number)] for number in labels[faint]]
    figure.add_trace(
        kind(
            x=found.train[faint, 0],
            y=found.train[faint, 1],
            customdata=[ids[p] for p in faint],
            hovertext=[hover_words(ids[p], f"labelled {name}") for p, name in zip(faint, names, strict=True)],
            name="training data",
            mode="markers",
            marker={"size": 5, "color": FAINT[look.dark], "line": {"width": 0}},
            selected={"marker": {"opacity": 0.6}},
            unselected={"marker": {"opacity": 0.3}},
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )
    name_classes(figure, kind, found.train[shown], labels[shown], class_names, look)
    placed = [(name, p) for name, p in queries if np.isfinite(found.test[p]).all()]
    largest = max((abs(one.score) for one in lit), default=1.0) or 1.0
    sides = (
        ("culprits", "triangle-up", CULPRIT, [one for one in lit if one.score > 0]),
        ("helpers", "triangle-down", HELPER, [one for one in lit if one.score < 0]),
    )
    for name, symbol, colour, members in sides:
        if members and len(placed) == 1:
            figure.add_trace(_ties(found, placed[0][1], members[:TIED], colour, name))
        if members:
            figure.add_trace(
                _side(
                    kind, found, members, name=name, symbol=symbol, colour=colour, largest=largest, look=look
                )
            )
    if chosen:
        ring_points(figure, kind, found.train[list(chosen)], name="in the fix tray", size=24, look=look)
    if placed:
        figure.add_trace(
            kind(
                x=found.test[[p for _, p in placed], 0],
                y=found.test[[p for _, p in placed], 1],
                hovertext=[hover_words(name, "the test example") for name, _ in placed],
                name="test example" if len(placed) == 1 else "test examples",
                mode="markers",
                marker={
                    "size": 20,
                    "symbol": "star",
                    "color": INK[look.dark],
                    "line": {"width": 1.5, "color": INK[not look.dark]},
                },
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 1}},
                hovertemplate="%{hovertext}<extra></extra>",
            )
        )
    map_layout(figure, found, view)
    return figure


def diameters(scores: NDArray[np.floating], largest: float) -> NDArray[np.float64]:
    """Diameters of marks whose areas go with |score|, from `SMALLEST` to `LARGEST`."""
    found: NDArray[np.float64] = np.maximum(LARGEST * np.sqrt(np.abs(scores) / largest), SMALLEST)
    return found


def _side(
    kind: Any,
    found: ExampleMap,
    members: Sequence[LitExample],
    *,
    name: str,
    symbol: str,
    colour: str,
    largest: float,
    look: Look,
) -> Any:
    rows = [one.position for one in members]
    return kind(
        x=found.train[rows, 0],
        y=found.train[rows, 1],
        customdata=[one.id for one in members],
        hovertext=[
            hover_words(
                one.id,
                f"labelled {one.label}, score {one.score:+.3g}",
                *(["suspected label error"] if one.suspected else []),
                text=one.text,
            )
            for one in members
        ],
        name=name,
        mode="markers",
        marker={
            "size": diameters(np.array([one.score for one in members]), largest),
            "symbol": symbol,
            "color": colour,
            "opacity": 0.9,
            "line": {"width": 1, "color": INK[not look.dark]},
        },
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 0.4}},
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _ties(found: ExampleMap, query: int, members: Sequence[LitExample], colour: str, name: str) -> go.Scatter:
    """Lines from the test example to the strongest of one side."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for one in members:
        xs += [float(found.test[query, 0]), float(found.train[one.position, 0]), None]
        ys += [float(found.test[query, 1]), float(found.train[one.position, 1]), None]
    return go.Scatter(
        x=xs,
        y=ys,
        name=f"the strongest {name}",
        mode="lines",
        line={"color": colour, "width": 1.2, "dash": "solid" if name == "culprits" else "dot"},
        opacity=0.55,
        showlegend=False,
        hoverinfo="skip",
    )
