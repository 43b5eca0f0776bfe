"""The map of mispredictions: click one to investigate it, draw around several to tick them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray

from attribution.error_clusters import ErrorCluster
from attribution.maps.example_map import SEED, ExampleMap
from attribution.maps.sample import even_sample
from dashboard.chart import numbers
from dashboard.components.points import points
from dashboard.components.table import Column, Row, table
from dashboard.current import Opened
from dashboard.map_switch import (
    WITHOUT_WEBGL,
    MapChoice,
    choice_of,
    follow_map,
    look,
    map_switches,
)
from dashboard.maps import map_shelf
from dashboard.stacking import predictions_of
from dashboard.state import set_parameters
from dashboard.tables import clusters_job, clusters_of, texts_of
from dashboard.thumbnails import thumbnails
from dashboard.views.error_map import MOST_CONTEXT, ErrorPoints, error_map, grouped
from dashboard.views.look import Look
from dashboard.views.map_figure import drawn_around, shares_words

FRAME = "error-map"
"""Key of the container around the figure, whose own key changes with the filter."""

COLOURED_BY = {"predicted": "Predicted class", "true": "True class", "cluster": "Cluster"}


def draw_error_map(
    opened: Opened,
    base: str | None,
    errors: pd.DataFrame,
    ticked: Sequence[str],
    *,
    on_open: Callable[[str], None],
    on_tick: Callable[[Sequence[str], bool], None],
    on_together: Callable[[Sequence[str]], None],
) -> None:
    """The map with its switches; coloured by clusters, with a list of them.

    Args:
        base: the fix on top of which mispredictions are shown; points are those of the original model.
        errors: the mispredictions that the filter leaves.
        on_open: called with the id of a point that was clicked, before the script runs again.
        on_tick: called with the ids of the errors within a box or a lasso, and True.
        on_together: called with the ids of a cluster whose common culprits are asked for.
    """
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        choice = map_switches("errors")
        options = {name: words for name, words in COLOURED_BY.items() if name != "cluster" or base is None}
        colour = choice_of("errors-colour", "colour", options, "predicted", "Coloured by")
    searching = clusters_job(opened) if colour == "cluster" else None
    if searching is not None and not searching.finished:
        colour = "predicted"
        st.caption("Coloured by clusters as soon as they are found.")
    follow_map(
        opened, choice, lambda: _figure(opened, base, errors, ticked, choice, colour, on_open, on_tick)
    )
    if colour == "cluster":
        _clusters(opened, errors, on_together)


def _clusters(opened: Opened, errors: pd.DataFrame, on_together: Callable[[Sequence[str]], None]) -> None:
    """The clusters by name, largest first: each is a filter, and has common culprits."""
    known = set(errors.index)
    clusters = {
        key: (_numbered(number, cluster), count)
        for number, (key, cluster) in enumerate(clusters_of(opened).items(), start=1)
        if (count := len(known.intersection(cluster.test_ids)))
    }
    if not clusters:
        st.caption("No two of these have a common cause that the last layer could tell.")
        return

    def act(action: str, key: str) -> None:
        if action == "filter":
            set_parameters(cluster=key, page=None)
        else:
            on_together(clusters_of(opened)[key].test_ids)

    table(
        "clusters",
        [
            Column("name", "Errors of a common cause", "text"),
            Column("count", "Errors", "count", align="right"),
            Column("do", "", "actions"),
        ],
        [
            Row(
                id=key,
                name=name,
                cells={
                    "name": name,
                    "count": count,
                    "do": [
                        {"name": "filter", "label": "Only these"},
                        {"name": "together", "label": "Common culprits"},
                    ],
                },
            )
            for key, (name, count) in clusters.items()
        ],
        caption="Clusters of mispredictions, largest first",
        height=300,
        on_act=act,
    )


def _figure(
    opened: Opened,
    base: str | None,
    errors: pd.DataFrame,
    ticked: Sequence[str],
    choice: MapChoice,
    colour: str,
    on_open: Callable[[str], None],
    on_tick: Callable[[Sequence[str], bool], None],
) -> None:
    found = map_shelf().get(opened, choice.space, choice.projection)
    assert found is not None, "drawn only where it is there"
    shown = tuple(str(one) for one in errors.index)
    # What the figure is about is in its key: what was drawn around under one filter means nothing under another.
    about = (*opened.key, base, choice.space, choice.projection, colour, hash(shown))
    key = "errors " + " ".join(str(part) for part in about)

    def picked() -> None:
        inside = set(drawn_around(st.session_state.get(key)))
        if inside:
            on_tick([one for one in shown if one in inside], True)

    st.caption(
        "Click a point to investigate it; draw a box or a lasso around several to tick them. "
        + shares_words(found)
        + (" Places are those of the original model." if base is not None else "")
    )
    with st.container(key=FRAME):
        figure = _drawn(about, shown, tuple(ticked), look(), opened, base, errors, found)
        st.plotly_chart(
            figure,
            key=key,
            on_select=picked,
            selection_mode=("box", "lasso"),
            config={"displaylogo": False, "scrollZoom": True},
            alt=f"Map of {len(shown)} mispredictions among right predictions. The same are listed in the table.",
        )
    points(
        "error-points",
        FRAME,
        thumbnails(opened, "test", shown),
        on_click=on_open,
        on_no_webgl=without_webgl,
    )
    numbers(figure, key="error map")


def _numbered(number: int, cluster: ErrorCluster) -> str:
    """The name of a cluster with its rank, as several may have the same."""
    return f"{number}. {cluster.name}"


def without_webgl() -> None:
    """Callback: this browser needs figures without WebGL."""
    st.session_state[WITHOUT_WEBGL] = True


@st.cache_resource(max_entries=32, show_spinner=False)
def _drawn(
    about: tuple[str | int | None, ...],
    shown: tuple[str, ...],
    ticked: tuple[str, ...],
    look: Look,
    _opened: Opened,
    _base: str | None,
    _errors: pd.DataFrame,
    _found: ExampleMap,
) -> go.Figure:
    del shown
    predictions = predictions_of(_opened, _base)
    ids = [str(one) for one in predictions.index]
    place = {one: position for position, one in enumerate(ids)}
    clusters = clusters_of(_opened) if about[5] == "cluster" else {}
    names = {
        one: _numbered(number, cluster)
        for number, cluster in enumerate(clusters.values(), start=1)
        for one in cluster.test_ids
    }
    about_points = ErrorPoints(
        errors=_errors,
        positions=np.array([place[str(one)] for one in _errors.index], dtype=np.int64),
        context=_context(predictions, ids),
        ids=ids,
        labels=predictions["label"].to_numpy(),
        groups=grouped(_errors, str(about[5]), names),
        texts=texts_of(_opened),
    )
    return error_map(
        _found, about_points, _opened.project.class_names, ticked=ticked, look=look, view=str(about)
    )


def _context(predictions: pd.DataFrame, ids: Sequence[str]) -> NDArray[np.int64]:
    labels = predictions["label"].to_numpy()
    right = np.flatnonzero(labels == predictions["predicted"].to_numpy())
    chosen = even_sample([ids[int(p)] for p in right], labels[right], MOST_CONTEXT, seed=SEED)
    return right[np.sort(chosen)]
