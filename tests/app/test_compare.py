"""The table above the matrices of Compare: what is known about each method, and what the others lack."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from attribution import Engine, Project
from attribution.methods import availability, list_methods
from attribution.projects.lds_record import FILE
from dashboard.views.agreement import agreement_heatmap
from tests.app.drawn_pages import OpenPage, until_shown

METHODS = "ekfac,grad_dot,representation"


@pytest.fixture
def compare(own_projects: Path, own_digits: Project, open_page: OpenPage) -> Callable[[], AppTest]:
    def opened() -> AppTest:
        example = own_digits.mispredictions()[0]["id"]
        return open_page("compare", project="digits", example=example, methods=METHODS)

    return opened


def rows(app: AppTest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = until_shown(app, "methods")["rows"]
    return found


def write_study(project: Project, text: str) -> None:
    file = project.directory / FILE
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")


def test_each_method_is_a_row_in_order(compare: Callable[[], AppTest], own_digits: Project) -> None:
    found = rows(compare())
    infos = {info.name: info for info in list_methods()}
    engine = Engine(own_digits)
    example = own_digits.mispredictions()[0]["id"]
    for number, (row, name) in enumerate(zip(found, METHODS.split(","), strict=False), start=1):
        cells = row["cells"]
        assert row["id"] == name and cells["method"] == f"{number}  {infos[name].title}"
        assert cells["cost"] == infos[name].cost
        assert cells["scale"] == ("calibrated" if infos[name].calibrated else "ranks only")
        assert cells["fidelity"]["text"] == "not measured here"
        assert cells["seconds"] > 0
        exact = engine.explain(example, method=name).trust["exact"]
        assert exact == (cells["source"] != "index, strongest exact")
    assert [row["cells"]["source"] for row in found[:3]] == [
        "exact gradients",
        "exact gradients",
        "no gradients",
    ]


def test_what_cannot_run_is_greyed_with_what_is_missing(
    compare: Callable[[], AppTest], own_digits: Project
) -> None:
    greyed = {row["cells"]["method"]: row["unavailable"] for row in rows(compare())[3:]}
    titles = {info.name: info.title for info in list_methods()}
    missing = {name: reason for name, reason in availability(own_digits).items() if reason is not None}
    assert missing, "digits is no text"
    for name, reason in missing.items():
        assert greyed[next(listed for listed in greyed if titles[name] in listed)] == reason


def test_a_study_of_this_project_is_shown_with_its_error(
    compare: Callable[[], AppTest], own_digits: Project
) -> None:
    measured = {"ekfac": {"lds": 0.412, "standard_error": 0.017, "seconds": 2.0}}
    write_study(own_digits, json.dumps({"methods": measured, "subsets": 100, "seeds": 5, "ceiling": 0.8}))
    app = compare()
    assert [row["cells"]["fidelity"]["text"] for row in rows(app)[:3]] == [
        "0.41 ± 0.02",
        "not measured here",
        "not measured here",
    ]
    said = " ".join(caption.value.replace("\\", "") for caption in app.caption)
    assert "100 random subsets, 5 seeds each; retraining itself reaches 0.80" in said


def test_a_damaged_study_costs_only_the_study(compare: Callable[[], AppTest], own_digits: Project) -> None:
    write_study(own_digits, "{")
    app = compare()
    assert all(row["cells"]["fidelity"]["text"] == "not measured here" for row in rows(app)[:3])
    assert "is damaged" in app.error[0].value.replace("\\", "")


@pytest.mark.parametrize("dark", [False, True])
def test_numbers_in_the_matrix_have_the_colour_of_the_theme(dark: bool) -> None:
    """Plotly would take what lies below translucent cells for white, and write dark on dark."""
    import numpy as np

    figure = agreement_heatmap(["One", "Two"], np.eye(2), title="t", percent=False, dark=dark)
    red, green, blue = (int(figure.data[0].textfont.color[place : place + 2], 16) for place in (1, 3, 5))
    assert (min(red, green, blue) > 200) is dark
    assert figure.data[0].y == ("One  1", "Two  2") and figure.data[0].x == ("1", "2")
