"""Trust: what studies measured is shown in words, and can be measured from the page."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from attribution.projects import Project
from attribution.projects.study_records import (
    CORRECTION,
    FADING,
    MISLABELS,
    CorrectionRecord,
    FadingRecord,
    MislabelRecord,
    read_study,
)
from attribution.studies import fading, lds, mislabels
from dashboard.study_panel import COSTS
from dashboard.views.fading_figure import fading_figure
from dashboard.views.look import Look
from dashboard.views.studies import correction_rows, fading_sentence, mislabel_sentence
from tests.app.drawn_pages import PATIENCE, OpenPage, shown
from tests.written_studies import STUDIES, write_studies


@pytest.fixture
def studied(own_digits: Project, own_projects: Path) -> Project:
    """`digits` with a study of every kind."""
    write_studies(own_digits)
    return own_digits


def said(app: Any) -> str:
    shown_words = (str(one.value) for kind in ("markdown", "caption", "error") for one in getattr(app, kind))
    return " ".join(shown_words).replace("\\", "")  # text is shown as it is, with Markdown's signs escaped


def test_every_study_is_shown_in_words_and_numbers(studied: Project, open_page: OpenPage) -> None:
    app = open_page("trust", project="digits")
    assert not app.exception and not app.error
    words = said(app)
    assert "Believe Influence along the run most here" in words and "0.68 ± 0.02" in words
    assert "would reach 0.94" in words
    assert "Influence along the run for 400 steps or longer; Gradient dot product for 1 step." in words
    assert "Of the 100 training labels that are known to be wrong" in words and "39 mispredictions" in words
    rows = {
        key: [row["id"] for row in (shown(app, key) or {"rows": []})["rows"]]
        for key in ("fidelity", "detectors", "corrections")
    }
    assert rows == {
        "fidelity": ["path", "grad_dot"],
        "detectors": ["held_out", "random"],
        "corrections": ["helpers path", "helpers random_same_class"],
    }
    assert [app.button(key=f"study-{name}").label for name in ("lds", "fading", "mislabels")] == [
        "Measure again"
    ] * 3


def test_nothing_measured_is_no_error_and_can_be_measured(own_projects: Path, open_page: OpenPage) -> None:
    app = open_page("trust", project="digits")
    assert not app.exception and not app.error
    assert [app.button(key=f"study-{name}").label for name in ("lds", "fading", "mislabels")] == [
        "Measure"
    ] * 3
    assert "tracefix study" in app.code[0].value and app.code[0].value.endswith(" correction")


def test_a_study_is_made_from_the_page(own_digits: Project, own_projects: Path, open_page: OpenPage) -> None:
    app = open_page("trust", project="digits")
    app.button(key="study-mislabels").click().run()
    deadline = time.monotonic() + PATIENCE
    while shown(app, "detectors") is None and time.monotonic() < deadline:
        app.run()
    assert not app.exception and not app.error
    found = read_study(MISLABELS, MislabelRecord, own_digits.directory)
    assert found is not None and found.wrong == [100] and found.detectors["loss"].auc > 0.99


def test_a_study_of_another_model_is_not_shown(studied: Project, open_page: OpenPage) -> None:
    for file, study in STUDIES.items():
        (studied.directory / file).write_text(
            json.dumps(study | {"prepared_from": "another"}), encoding="utf-8"
        )
    app = open_page("trust", project="digits")
    assert shown(app, "fidelity") is None and shown(app, "corrections") is None
    assert app.button(key="study-lds").label == "Measure"


@pytest.mark.parametrize("damage", ["{", "[]", '{"steps": []}', '{"methods": {"path": {"pearson": [NaN]}}}'])
def test_a_damaged_study_is_said_and_the_others_are_shown(
    studied: Project, open_page: OpenPage, damage: str
) -> None:
    (studied.directory / FADING).write_text(damage, encoding="utf-8")
    app = open_page("trust", project="digits")
    assert not app.exception and "is damaged: run the study again" in said(app)
    assert shown(app, "fidelity") is not None and app.button(key="study-fading").label == "Measure"


def test_the_figure_has_a_line_for_each_method_with_its_uncertainty() -> None:
    study = FadingRecord.model_validate(STUDIES[FADING])
    for dark in (False, True):
        figure = fading_figure(study, {"path": "Path"}, Look(dark=dark))
        assert [trace.name for trace in figure.data] == ["Path", "grad_dot", "random"]
        assert all(tuple(trace.x) == (1, 50, 400) for trace in figure.data)
        assert figure.data[0].error_y.array == (0.1, 0.1, 0.1)
        assert len({trace.line.color for trace in figure.data}) == 3


def test_sentences_say_what_was_planted_and_what_does_not_hold() -> None:
    study = MislabelRecord.model_validate(STUDIES[MISLABELS] | {"planted": True, "wrong": [90, 90]})
    assert mislabel_sentence(study) == (
        "Of 90 and 90 wrong labels that were planted, in models trained on them: most are found by looking at a last "
        "layer that was not shown the label."
    )
    unheld = FadingRecord.model_validate(
        STUDIES[FADING] | {"holds_until": {"path": 50, "grad_dot": None, "random": None}}
    )
    assert fading_sentence(unheld, {}).endswith("path for 50 steps; grad_dot not at all.")


def test_what_is_not_known_of_a_correction_is_left_out() -> None:
    study = CorrectionRecord.model_validate(STUDIES[CORRECTION])
    first, second = correction_rows(study, {})
    assert first.cells["accuracy"] == "+0.12 ± 0.04" and first.cells["broken"] == "1.5 ± 0.3"
    assert second.cells["accuracy"] == "+0.00" and second.cells["steps"] == "-"
    assert second.cells["selector"] == "random same class"


def test_costs_are_those_of_the_studies() -> None:
    assert f"Trains {lds.SUBSETS * lds.SEEDS} models" in COSTS["lds"]
    assert f"for {fading.STEPS} steps, {2 * fading.EXAMPLES} times" in COSTS["fading"]
    assert f"each of {fading.EXAMPLES} examples" in COSTS["fading"]
    assert mislabels.SEEDS == 2 and "trains two models" in COSTS["mislabels"]
