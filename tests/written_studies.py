"""Studies of `digits` that nobody made, one of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attribution.projects import Project
from attribution.projects.lds_record import FILE as LDS
from attribution.projects.study_records import CORRECTION, FADING, MISLABELS

STUDIES: dict[Path, dict[str, Any]] = {
    LDS: {
        "methods": {
            "grad_dot": {"lds": 0.21, "standard_error": 0.04, "seconds": 0.01},
            "path": {"lds": 0.684, "standard_error": 0.02, "seconds": 0.03},
        },
        "subsets": 50,
        "seeds": 2,
        "ceiling": 0.94,
    },
    FADING: {
        "steps": [1, 50, 400],
        "methods": {
            "path": {"pearson": [0.6, 0.7, 0.6], "standard_error": [0.1, 0.1, 0.1]},
            "grad_dot": {"pearson": [0.99, 0.4, 0.2], "standard_error": [0.0, 0.1, 0.1]},
            "random": {"pearson": [0.0, 0.1, 0.0], "standard_error": [0.1, 0.1, 0.1]},
        },
        "holds_until": {"path": 400, "grad_dot": 1, "random": None},
    },
    MISLABELS: {
        "detectors": {
            "random": {"auc": 0.5, "standard_error": 0.03, "seconds": 0.0},
            "held_out": {"auc": 0.998, "standard_error": 0.001, "seconds": 3.0},
        },
        "wrong": [100],
        "planted": False,
    },
    CORRECTION: {
        "strategies": {
            "helpers": {
                "path": {
                    "success": 1.0,
                    "median_steps": 1.0,
                    "accuracy_change": 0.0012,
                    "accuracy_change_standard_error": 0.0004,
                    "newly_fixed": 1.3,
                    "newly_broken": 1.5,
                    "newly_broken_standard_error": 0.3,
                },
                "random_same_class": {
                    "success": 0.0,
                    "median_steps": None,
                    "accuracy_change": 0.0,
                    "newly_fixed": 0.0,
                    "newly_broken": 0.0,
                },
            }
        },
        "mispredictions": 39,
    },
}


def write_studies(project: Project) -> None:
    """Put them where studies of a project lie."""
    for file, study in STUDIES.items():
        place = project.directory / file
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(study), encoding="utf-8")
