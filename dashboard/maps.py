"""Maps of a project's examples for the pages: from memory, from disk, or made in the background."""

from __future__ import annotations

import threading
from collections import OrderedDict

import streamlit as st

from attribution.errors import ProjectError
from attribution.maps.example_map import SPACES, ExampleMap, Projection, Space, stored_map
from attribution.progress import Reporter
from dashboard.current import Opened
from dashboard.engines import engine_shelf, job_queue
from dashboard.jobs import Job

MAP_LANE = "maps"
"""A map may take a minute, in a process of its own or a batch at a time: explanations go on meanwhile."""

MOST_MAPS = 16
"""Kept in memory; a map of 100,000 examples takes 1 MB."""


class MapShelf:
    """Maps by project, space and projection."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._maps: OrderedDict[tuple[tuple[str, str], Space, Projection], ExampleMap] = OrderedDict()

    def get(self, opened: Opened, space: Space, projection: Projection) -> ExampleMap | None:
        """The map, from disk where it is not in memory; None if it has to be made first."""
        key = (opened.key, space, projection)
        with self._lock:
            if key in self._maps:
                self._maps.move_to_end(key)
                return self._maps[key]
        try:
            found = stored_map(opened.project, space, projection)
        except ProjectError:  # whoever makes the map says what is wrong with the project
            return None
        if found is not None:
            self.put(opened, found)
        return found

    def put(self, opened: Opened, found: ExampleMap) -> None:
        """Keep a map."""
        with self._lock:
            self._maps[opened.key, found.space, found.projection] = found
            while len(self._maps) > MOST_MAPS:
                self._maps.popitem(last=False)


@st.cache_resource(show_spinner=False)
def map_shelf() -> MapShelf:
    """The server's maps."""
    return MapShelf()


def map_job(opened: Opened, space: Space, projection: Projection, *, afresh: bool = False) -> Job:
    """The job that makes a map, started unless it is there already."""
    engines, maps = engine_shelf(), map_shelf()

    def work(reporter: Reporter) -> None:
        engine = engines.get(opened, reporter.share(0.0, 0.1))
        maps.put(opened, engine.map(space, projection, reporter=reporter.share(0.1, 1.0)))

    return job_queue().submit(
        work,
        key=("map", opened.key, space, projection),
        kind="map",
        title=f"Map of {SPACES[space].lower()} of {opened.project.title}",
        lane=MAP_LANE,
        subject={"project": opened.reference},
        afresh=afresh,
    )
