"""Reading a project's LDS study: the shape of the command line's contract, and damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attribution.errors import ProjectError
from attribution.projects.lds_record import FILE, read_lds

STUDY = {
    "methods": {"ekfac": {"lds": 0.41, "standard_error": 0.02, "seconds": 1.5}},
    "subsets": 100,
    "seeds": 3,
    "ceiling": 0.7,
}


def written(directory: Path, text: str) -> Path:
    (directory / FILE).parent.mkdir(parents=True, exist_ok=True)
    (directory / FILE).write_text(text, encoding="utf-8")
    return directory


def test_a_study_is_read_as_it_was_written(tmp_path: Path) -> None:
    study = read_lds(written(tmp_path, json.dumps(STUDY | {"added later": 1})))
    assert study is not None
    assert study.model_dump(exclude_none=True) == STUDY


def test_a_study_of_another_model_counts_as_none(tmp_path: Path) -> None:
    written(tmp_path, json.dumps(STUDY | {"prepared_from": "then"}))
    assert read_lds(tmp_path, "now") is None
    assert read_lds(tmp_path, "then") is not None and read_lds(tmp_path) is not None
    assert read_lds(written(tmp_path, json.dumps(STUDY)), "now") is not None, "it does not say of which"


def test_no_study_is_none(tmp_path: Path) -> None:
    assert read_lds(tmp_path) is None


def test_a_study_may_know_no_ceiling(tmp_path: Path) -> None:
    study = read_lds(written(tmp_path, json.dumps(STUDY | {"ceiling": None})))
    assert study is not None and study.ceiling is None


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "[]",
        "{",
        '{"methods": {}}',
        json.dumps(
            STUDY | {"methods": {"ekfac": {"lds": float("nan"), "standard_error": 0.0, "seconds": 1.0}}}
        ),
        json.dumps(STUDY | {"methods": {"ekfac": {"lds": 1.2, "standard_error": 0.0, "seconds": 1.0}}}),
        json.dumps(STUDY | {"methods": {"ekfac": {"lds": 0.2}}}),
    ],
    ids=["empty", "list", "cut off", "incomplete", "not a number", "no correlation", "no error"],
)
def test_damage_is_one_sentence(tmp_path: Path, damage: Any) -> None:
    with pytest.raises(ProjectError, match="is damaged: run the study again"):
        read_lds(written(tmp_path, damage))
