"""The method switch: the usual one first, each method once, what cannot run greyed with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from attribution import Project, Task, prepare
from attribution.methods import FAMILIES, availability, list_methods
from dashboard.locations import PROJECTS_VARIABLE
from dashboard.messages import escaped
from tests.app.drawn_pages import OpenPage
from tests.unit.built_projects import project_of
from tests.unit.tiny_models import trained_mlp


@pytest.fixture
def without_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv(PROJECTS_VARIABLE, str(tmp_path / "projects"))

    def build() -> Task:
        return replace(trained_mlp(), checkpoints=())

    project = project_of(tmp_path / "projects" / "bare", build)
    prepare(project, device="cpu")
    return Project.open(project.directory)


def method_buttons(app: AppTest) -> dict[str, bool]:
    """Name of each method in the order of the page, and whether it can be chosen."""
    keys = [(str(button.key), button.disabled) for button in app.button]
    return {key.removeprefix("method-"): not disabled for key, disabled in keys if key.startswith("method-")}


def test_methods_stand_in_their_families_and_say_what_they_lack(
    without_checkpoints: Project, open_page: OpenPage
) -> None:
    example = without_checkpoints.mispredictions()[0]["id"]
    app = open_page("investigate", project="bare", example=example)
    reasons = availability(without_checkpoints)
    found = method_buttons(app)
    assert found == {name: reason is None for name, reason in reasons.items()}
    assert not found["tracin"] and not found["path"]
    captions = [caption.value for caption in app.caption]
    assert all(escaped(reason) in captions for reason in reasons.values() if reason is not None)
    assert next(iter(found)) == "ekfac", "the usual one of a project without checkpoints comes first"
    titles = [f"**{title}**" for title in ("The usual one here", *FAMILIES.values())]
    assert [text.value for text in app.markdown if text.value in titles] == titles


def test_what_cannot_run_comes_last_in_its_family(without_checkpoints: Project, open_page: OpenPage) -> None:
    example = without_checkpoints.mispredictions()[0]["id"]
    found = method_buttons(open_page("investigate", project="bare", example=example))
    family = {info.name: info.family for info in list_methods()}
    for kind in FAMILIES:
        able = [found[name] for name in list(found)[1:] if family[name] == kind]
        assert able == sorted(able, reverse=True)
