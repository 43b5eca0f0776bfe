"""What all maps have in common: layout, colours that anybody can tell apart, symbols, and words that stay inert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from attribution.maps.example_map import ExampleMap
from dashboard.views.curves import PREDICTED_COLOUR, TRUE_COLOUR
from dashboard.views.inert import visible
from dashboard.views.look import Look

HEIGHT = 560
"""CSS pixels."""

MOST_SVG = 2000
"""Points up to which a figure is drawn as SVG, which every browser can; more take WebGL to stay quick."""

FAINT = {False: "rgba(93,107,122,0.30)", True: "rgba(147,161,176,0.30)"}
INK = {False: "#18212c", True: "#e7ecf2"}
CULPRIT, HELPER = PREDICTED_COLOUR, TRUE_COLOUR

# Okabe and Ito (2008) without black and yellow, which one of the backgrounds swallows, and two of Tol's (2021).
COLOURS = {
    False: ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#882255"),
    True: ("#4ea6e6", "#f08a3c", "#2fc49b", "#e29ac2", "#a5d8f5", "#f2c14e", "#d06a9a"),
}
OTHER_COLOUR = {False: "#5d6b7a", True: "#a7b3c0"}
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x")
OTHER_SYMBOL = "pentagon"
OTHERS = ""
"""The group of what has no colour of its own: no class or cluster is called so."""

WORDS_SHOWN = 160
"""Characters of a text in a hover label."""

MOST_NAMES = 20
"""Classes whose names stand in a map; more would cover it."""


def scatter_kind(points: int, look: Look) -> Any:
    """The kind of trace for a figure of so many points."""
    return go.Scattergl if look.webgl and points > MOST_SVG else go.Scatter


def inert(text: str) -> str:
    """Data in a label of plotly, which would read a little HTML and knows few entities."""
    return escape(visible(text), quote=False)


def hover_words(example_id: str, *facts: str, text: str | None = None) -> str:
    """A hover label: id, facts, the first words of a text. Plotly reads a little HTML: all data are escaped."""
    lines = [f"<b>{inert(example_id[:60])}</b>", *(inert(fact) for fact in facts)]
    if text is not None:
        short = " ".join(text.split())
        cut = short if len(short) <= WORDS_SHOWN else short[: WORDS_SHOWN - 1] + "…"
        lines += [inert(line) for line in wrap(cut, 54)]
    return "<br>".join(lines)


def groups_of(names: Sequence[str]) -> dict[str, str]:
    """The group that each name is drawn in: its own for the commonest seven, else `OTHERS`."""
    found, counts = np.unique(
        np.array([name for name in names if name != OTHERS], dtype=object), return_counts=True
    )
    ranked = [str(found[i]) for i in np.lexsort((found, -counts))]
    own = len(SYMBOLS) if len(ranked) <= len(SYMBOLS) else len(SYMBOLS) - 1
    return {name: name if place < own else OTHERS for place, name in enumerate(ranked)} | {OTHERS: OTHERS}


def marks(groups: Sequence[str], look: Look) -> dict[str, tuple[str, str]]:
    """Colour and symbol of each group, in the order given; of `OTHERS` their own."""
    own = [group for group in groups if group != OTHERS]
    found = {
        group: (COLOURS[look.dark][place], SYMBOLS[place]) for place, group in enumerate(own[: len(SYMBOLS)])
    }
    return found | {OTHERS: (OTHER_COLOUR[look.dark], OTHER_SYMBOL)}


def ring_points(
    figure: go.Figure, kind: Any, places: NDArray[np.floating], *, name: str, size: int, look: Look
) -> None:
    """Put rings of ``size`` CSS pixels around points at ``places`` (n, 2), whatever is selected."""
    figure.add_trace(
        kind(
            x=places[:, 0],
            y=places[:, 1],
            name=name,
            mode="markers",
            marker={
                "size": size,
                "symbol": "circle-open",
                "color": INK[look.dark],
                "line": {"width": 2, "color": INK[look.dark]},
            },
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
            hoverinfo="skip",
        )
    )


def name_classes(
    figure: go.Figure,
    kind: Any,
    points: NDArray[np.floating],
    labels: NDArray[np.integer],
    class_names: Sequence[str],
    look: Look,
) -> None:
    """Write the names of the classes at the medians of their points, above the traces drawn so far.

    In figures that take WebGL, whose points cover all other traces, they are annotations, which are above everything.
    """
    present = [number for number in range(len(class_names)) if (labels == number).any()]
    named = present if len(present) <= MOST_NAMES else []
    medians = np.array([np.median(points[labels == number], axis=0) for number in named]).reshape(-1, 2)
    words = [f"<b>{inert(class_names[number][:24])}</b>" for number in named]
    ink = {"size": 15, "color": INK[look.dark]}
    if kind is go.Scattergl:
        for (x, y), word in zip(medians.tolist(), words, strict=True):
            figure.add_annotation(x=x, y=y, text=word, font=ink, showarrow=False, captureevents=False)
        return
    figure.add_trace(
        go.Scatter(
            x=medians[:, 0],
            y=medians[:, 1],
            text=words,
            name="classes",
            mode="text",
            textfont=ink,
            selected={"textfont": {"color": ink["color"]}},
            unselected={"textfont": {"color": ink["color"]}},
            showlegend=False,
            hoverinfo="skip",
        )
    )


def map_layout(figure: go.Figure, found: ExampleMap, view: str) -> None:
    """Axes, legend, and box selection by default.

    Args:
        view: where it changes, zoom and legend start anew.
    """
    for axis, number in (("xaxis", 0), ("yaxis", 1)):
        share = found.shares[number]
        title = f"component {number + 1}, {share:.0%} of the variance" if found.projection == "pca" else ""
        figure.update_layout(
            {
                axis: {
                    "title": {"text": title, "font": {"size": 12}, "standoff": 6},
                    "showticklabels": False,
                    "zeroline": False,
                    "showgrid": False,
                    "showline": False,
                    "ticks": "",
                }
            }
        )
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        dragmode="select",
        hovermode="closest",
        uirevision=view,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0, "itemsizing": "constant"},
        hoverlabel={"align": "left"},
        newselection={"line": {"dash": "dot"}},
    )


def shares_words(found: ExampleMap) -> str:
    """How far the picture can be believed, in a sentence."""
    if found.projection == "umap":
        return "UMAP keeps neighbours together; distances between groups mean little."
    return f"The plane holds {found.shares.sum():.0%} of the variance: what is close here may still differ elsewhere."


def drawn_around(state: Mapping[str, Any] | None) -> list[str]:
    """Ids of the points within the boxes and lassos of a selection event, each once.

    The browser sends ``customdata`` as a string, a list of one, or a dictionary of one.
    """
    selection = (state or {}).get("selection") or {}
    ids = []
    for point in selection.get("points") or []:
        custom = point.get("customdata")
        if isinstance(custom, Mapping):
            custom = list(custom.values())
        if isinstance(custom, (list, tuple)):
            custom = custom[0] if custom else None
        if isinstance(custom, str):
            ids.append(custom)
    return list(dict.fromkeys(ids))
