"""Loaded engines and the device, shared by all sessions; torch is imported in the background, never by a page."""

from __future__ import annotations

import os
import platform
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from attribution.progress import Reporter
from dashboard.jobs import JobQueue

if TYPE_CHECKING:
    from attribution.engine import Engine
    from dashboard.current import Opened

MOST_ENGINES = 3
"""Models kept in memory; the one used longest ago goes first."""

WORK_LANE = "work"
"""Explanations and fixes run one after the other on the device."""

PREPARATION_LANE = "preparation"
"""Preparing takes minutes: it must not keep a prepared project's explanations waiting."""

CHECKING_LANE = "checking"
"""A project that is not prepared yet is looked at while another is prepared."""

READING_LANE = "reading"
"""What pages find out about a project without its model: nothing on the device has to wait for it."""

VERIFICATION_LANE = "verification"
"""Retraining takes minutes, on models of its own: explanations and fixes go on meanwhile."""


LOOKING_LANE = "looking"
"""What a model looked at takes part of a second: it must not keep the next explanation waiting, nor wait for a fix."""


@dataclass(frozen=True)
class Device:
    """What the models run on, in words for people."""

    name: str
    detail: str
    accelerated: bool


class EngineShelf:
    """Engines by project; made on first use by a worker thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: OrderedDict[tuple[str, str], Engine] = OrderedDict()

    def get(self, opened: Opened, reporter: Reporter) -> Engine:
        """The project's engine, loaded first if need be."""
        with self._lock:
            engine = self._engines.get(opened.key)
            if engine is None:
                reporter(0.0, "Loading the model")
                from attribution.engine import Engine

                engine = Engine(opened.project)
                self._engines[opened.key] = engine
                while len(self._engines) > MOST_ENGINES:
                    self._engines.popitem(last=False)
            self._engines.move_to_end(opened.key)
            return engine


class Warmth:
    """Imports torch and finds the device in a thread of its own."""

    def __init__(self) -> None:
        self.device: Device | None = None
        self._thread = threading.Thread(target=self._warm, name="tracefix-warm", daemon=True)

    @property
    def looking(self) -> bool:
        """Whether the device is being looked for."""
        return self._thread.is_alive()

    def start(self) -> bool:
        """Start, once; False where it was started before."""
        if self._thread.ident is not None:
            return False
        self._thread.start()
        return True

    def _warm(self) -> None:
        import captum.attr  # noqa: F401 - imported for the time it takes, as the engine is
        import torch

        import attribution.engine  # noqa: F401

        self.device = _find_device(torch)


@st.cache_resource(show_spinner=False)
def job_queue() -> JobQueue:
    """The server's one queue of background work."""
    return JobQueue()


@st.cache_resource(show_spinner=False)
def engine_shelf() -> EngineShelf:
    """The server's loaded engines."""
    return EngineShelf()


@st.cache_resource(show_spinner=False)
def warmth() -> Warmth:
    """The background import of torch, not started yet."""
    return Warmth()


def preload(opened: Opened) -> None:
    """Load the project's engine in the background, so that its first explanation need not wait for the model."""
    shelf = engine_shelf()

    def load(reporter: Reporter) -> None:
        shelf.get(opened, reporter)

    job_queue().submit(
        load,
        key=("load", opened.key),
        kind="load",
        title=f"Loading {opened.project.title}",
        lane=WORK_LANE,
    )


def processor() -> Device:
    """The CPU, in words, without importing anything heavy."""
    cores = os.cpu_count() or 1
    memory = _physical_memory()
    facts = [f"{cores} cores", *([_memory_words(memory)] if memory else []), platform.machine()]
    return Device("CPU", ", ".join(facts), False)


def _find_device(torch: Any) -> Device:
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Device("GPU", f"{properties.name}, {_memory_words(properties.total_memory)}", True)
    if torch.backends.mps.is_available():
        return Device("GPU", "Apple Metal", True)
    return processor()


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _memory_words(size: int) -> str:
    return f"{size / 2**30:.0f} GB memory"
