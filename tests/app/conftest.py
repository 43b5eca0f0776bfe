"""Pages drawn in the test's own process, without a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from attribution.projects import Project
from dashboard.locations import PROJECTS_VARIABLE
from tests.app.drawn_pages import APP, PATIENCE, OpenPage


@pytest.fixture
def projects(prepared_digits: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The projects folder the pages use, with `digits` prepared in it."""
    folder = prepared_digits.directory.parent
    monkeypatch.setenv(PROJECTS_VARIABLE, str(folder))
    return folder


@pytest.fixture
def own_projects(own_digits: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A projects folder with a copy of `digits` to be damaged or changed at will."""
    folder = own_digits.directory.parent
    monkeypatch.setenv(PROJECTS_VARIABLE, str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_warming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch is imported by what needs it, not in advance."""
    from dashboard import engines

    monkeypatch.setattr(engines.Warmth, "start", lambda self: None)
    monkeypatch.setattr(engines, "preload", lambda opened: None)


@pytest.fixture
def open_page() -> OpenPage:
    """``open_page("history", project="digits")`` draws a page as its link does."""

    def opened(page: str, /, **parameters: str) -> AppTest:
        app = AppTest.from_file(APP, default_timeout=PATIENCE).run()
        for name, value in parameters.items():
            app.query_params[name] = value
        if page == "projects":
            return app.run()
        return app.switch_page(f"app_pages/{page}.py").run()

    return opened
