"""Switches of the maps: map or list, which space, which projection, what colours mean. The URL holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from attribution.maps.example_map import PROJECTIONS, SPACES, Projection, Space
from attribution.maps.umap_process import INSTALL, umap_installed
from dashboard.current import Opened
from dashboard.maps import map_job, map_shelf
from dashboard.messages import problem
from dashboard.state import parameter, set_parameters
from dashboard.views.look import Look
from dashboard.waiting import show_progress, while_running

WITHOUT_WEBGL = "browser without webgl"
"""Set in the session once its browser said so."""

ABOUT_SPACES = (
    "Representations: what the last layer reads. Gradients: how each example would move the model, in the metric of "
    "the influence function; a misprediction lies towards its culprits."
)


@dataclass(frozen=True)
class MapChoice:
    """Which map the URL asks for."""

    space: Space
    projection: Projection


def map_shown() -> bool:
    """Whether the URL asks for the map rather than the list."""
    return parameter("show") == "map"


def list_or_map(listed: str, key: str) -> None:
    """The switch between the list (called ``listed``) and the map."""
    _switch(key, "show", {"list": listed, "map": "Map"}, "list", label="Shown as")


def map_choice() -> MapChoice:
    """The map of the URL; what cannot be had is the usual one."""
    space: Space = "gradient" if parameter("space") == "gradient" else "representation"
    umap = parameter("projection") == "umap" and umap_installed()
    return MapChoice(space, "umap" if umap else "pca")


def map_switches(key: str) -> MapChoice:
    """Space and projection, as the URL has them and as they can be changed."""
    _switch(f"{key}-space", "space", dict(SPACES), "representation", label="Space", about=ABOUT_SPACES)
    if umap_installed():
        _switch(
            f"{key}-projection",
            "projection",
            dict(PROJECTIONS),
            "pca",
            label="Projection",
            about="PCA: the plane of the largest variance. UMAP keeps neighbours together; distances between groups "
            "mean little.",
        )
    else:
        st.caption(f"PCA; for UMAP: {INSTALL}", width="content")
    return map_choice()


def choice_of(key: str, name: str, options: Mapping[str, str], usual: str, label: str) -> str:
    """A switch of one page's own, bound to a URL parameter; what the URL asks for."""
    _switch(key, name, options, usual, label=label)
    asked = parameter(name) or usual
    return asked if asked in options else usual


def follow_map(opened: Opened, choice: MapChoice, draw: Callable[[], None]) -> None:
    """Draw what needs the map if it is there; else start making it, with its progress, and draw the page anew then."""
    if map_shelf().get(opened, choice.space, choice.projection) is not None:
        draw()
        return
    job = map_job(opened, choice.space, choice.projection)

    def progress() -> None:
        if not job.finished:
            st.caption("The map is made once; then it is there at once. The page can be used meanwhile.")
            show_progress(job, "map")
            return
        if job.state == "failed":
            problem(job.error or "", title="This map cannot be made")
        elif job.state == "cancelled":
            st.info("The map was cancelled.", icon=":material/cancel:")
        st.button("Try again", key="map-again", on_click=_again, args=(opened, choice))

    while_running(job, progress)


def look() -> Look:
    """How figures are drawn for this session's browser."""
    return Look(dark=st.context.theme.type == "dark", webgl=not st.session_state.get(WITHOUT_WEBGL, False))


def _again(opened: Opened, choice: MapChoice) -> None:
    map_job(opened, choice.space, choice.projection, afresh=True)


def _switch(
    key: str, name: str, options: Mapping[Any, str], usual: str, *, label: str, about: str | None = None
) -> None:
    asked = parameter(name)
    st.session_state[key] = asked if asked in options else usual
    st.segmented_control(
        label,
        list(options),
        key=key,
        required=True,
        label_visibility="collapsed",
        format_func=lambda option: options[option],
        on_change=_changed,
        args=(key, name, usual),
        help=about,
    )


def _changed(key: str, name: str, usual: str) -> None:
    chosen = st.session_state[key]
    set_parameters(**{name: None if chosen == usual else chosen})
