"""The switch between one model and all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attribution import Engine, Project, prepare
from dashboard.locations import PROJECTS_VARIABLE
from tests.app.drawn_pages import OpenPage, until_shown
from tests.unit.built_projects import project_of
from tests.unit.test_ensemble import three_models


@pytest.fixture
def ensemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A prepared project with three trained models, in the projects folder."""
    monkeypatch.setenv(PROJECTS_VARIABLE, str(tmp_path / "projects"))
    project = project_of(tmp_path / "projects" / "ensemble", three_models)
    prepare(project, device="cpu")
    return Project.open(project.directory)


def test_the_toggle_averages_and_stays_in_the_link(ensemble: Project, open_page: OpenPage) -> None:
    wrong = ensemble.mispredictions()[0]["id"]
    app = open_page("investigate", project="ensemble", example=wrong, method="ekfac")
    engine = Engine(ensemble, device="cpu")

    def culprits() -> list[str]:
        return [card["id"] for card in until_shown(app, "influence")["columns"][0]["cards"]]

    assert culprits() == [card["id"] for card in engine.explain(wrong, method="ekfac").culprits(10)]
    toggle = app.toggle(key="ensemble")
    assert toggle.label == "Average over 3 models" and not toggle.value
    toggle.set_value(True).run()
    assert app.query_params["ensemble"] == "yes"
    averaged = engine.explain(wrong, method="ekfac", ensemble=True)
    assert culprits() == [card["id"] for card in averaged.culprits(10)]
    assert not np.allclose(averaged.scores, engine.explain(wrong, method="ekfac").scores)
    assert any("The 3 models" in caption.value for caption in app.caption)


def test_one_model_has_no_toggle(projects: Path, prepared_digits: Project, open_page: OpenPage) -> None:
    wrong = prepared_digits.mispredictions()[0]["id"]
    app = open_page("investigate", project="digits", example=wrong, ensemble="yes", method="grad_dot")
    until_shown(app, "influence")
    assert not [toggle for toggle in app.toggle if toggle.key == "ensemble"]
