"""The correction study on the samples, and on digits with a fifth of the training labels planted wrong.

Prints, and writes to docs/correction.json, what ``tracefix study PROJECT correction`` finds: by strategy and by how the
training examples were chosen, how often a misprediction is fixed, in how many steps, and at what price.

    python tests/benchmarks/correction_figures.py [--only digits,fashion] [--mispredictions N] [--projects DIR]

What is not run anew stays in the file. All of `digits` takes some minutes, `fashion` hours, `reviews` longer.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from unittest import mock

from attribution import Engine
from attribution.projects import Project
from attribution.studies.correction import MOST, correction_study
from dashboard.opening import open_prepared
from sample_models import digits

OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "correction.json"
PLANTED = 0.2


def planted(place: Path) -> None:
    """`digits` as the sample trains it, with a fifth of the labels wrong."""
    digits.create(place, flipped=PLANTED)


def by_heart(place: Path) -> None:
    """The same trained longer and without weight decay, until it knows many wrong labels by heart."""
    changes = {
        "STEPS = 400": "STEPS = 1000",
        "WEIGHT_DECAY = 1e-3": "WEIGHT_DECAY = 0.0",
        "(67, 133, 200, 267, 333, 400)": "(167, 333, 500, 667, 833, 1000)",
    }
    source = Path(digits.recipe.__file__ or "").read_text(encoding="utf-8")
    for old, new in changes.items():
        assert source.count(old) == 1, f"the recipe of digits no longer says {old}"
        source = source.replace(old, new)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "digits_by_heart.py"
        file.write_text(source, encoding="utf-8")
        with mock.patch.object(digits, "recipe", _module(file)):
            digits.create(place, flipped=PLANTED)


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MADE: dict[str, Callable[[Path], None]] = {
    "digits, 20 % planted": planted,
    "digits, 20 % planted, by heart": by_heart,
}
SAMPLES = ("digits", "fashion", "reviews")


def prepared(name: str, projects: Path, scratch: Path) -> Project:
    """The project of this name, made where it is not there."""
    if name in SAMPLES:
        return open_prepared(name, projects)
    place = scratch / name.replace(" ", "-").replace("%", "percent").replace(",", "")
    MADE[name](place)
    return open_prepared(str(place), projects)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=Path)
    parser.add_argument("--only", help="names, separated by ';'", default=";".join([*SAMPLES, *MADE]))
    parser.add_argument("--mispredictions", type=int, default=MOST)
    options = parser.parse_args()
    result = json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.is_file() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.only.split(";"):
            project = prepared(name, options.projects or Path(scratch), Path(scratch))
            engine = Engine(project, device="cpu")
            result[name] = correction_study(engine, most=options.mispredictions)
            result[name]["of"] = len(project.mispredictions())
            print(name, json.dumps(result[name], indent=1), flush=True)
            OUTPUT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
