"""The correction study on the samples, and on digits with a fifth of the training labels planted wrong.

Writes to docs/correction.json, and as tables into docs/benchmarks.md, what ``tracefix study PROJECT correction`` finds:
by strategy and by how the training examples were chosen, how often a misprediction is fixed, in how many steps, and at
what price.

    python tests/benchmarks/correction_figures.py [--only digits,fashion] [--mispredictions N]
        [--strategies helpers,suggest] [--projects DIR]

What is not run anew stays in the file; some strategies alone make a table of their own. All of `digits` takes some
minutes, `fashion` hours, `reviews` longer.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from attribution import Engine
from attribution.fixing import STRATEGIES
from attribution.projects import Project
from attribution.studies.correction import MOST, correction_study
from dashboard.opening import open_prepared
from sample_models import digits

DOCS = Path(__file__).resolve().parents[2] / "docs"
OUTPUT, DOCUMENT = DOCS / "correction.json", DOCS / "benchmarks.md"
BEGIN, END = "<!-- correction: begin -->", "<!-- correction: end -->"
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
    parser.add_argument("--strategies", help="separated by ','", default=",".join(STRATEGIES))
    options = parser.parse_args()
    result = json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.is_file() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.only.split(";"):
            project = prepared(name, options.projects or Path(scratch), Path(scratch))
            engine = Engine(project, device="cpu")
            strategies = options.strategies.split(",")
            found = correction_study(engine, strategies=strategies, most=options.mispredictions)
            key = entry(name, strategies)
            result[key] = found | {"of": len(project.mispredictions())}
            OUTPUT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
            print("\n".join(table(key, result[key])), flush=True)
    write_tables(result)


def entry(name: str, strategies: Sequence[str]) -> str:
    """What the result of a project is filed under: some strategies may be measured on fewer mispredictions."""
    return name if set(strategies) == set(STRATEGIES) else f"{name}: {', '.join(strategies)}"


def write_tables(result: dict[str, Any]) -> None:
    """Put the tables of all projects into the document, in place of those that are there."""
    text = DOCUMENT.read_text(encoding="utf-8")
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    keys = [key for name in (*SAMPLES, *MADE) for key in result if key.partition(":")[0] == name]
    tables = [line for key in keys for line in table(key, result[key])]
    DOCUMENT.write_text("\n".join([text[:start], "", *tables]) + text[end:], encoding="utf-8")


def table(name: str, found: dict[str, Any]) -> list[str]:
    """Lines of two Markdown tables, a blank one after each: means, and paired differences."""
    lines = [
        f"**{name}**: {found['mispredictions']} of {found['of']} mispredictions, {found['test_examples']:,} test "
        "examples",
        "",
        "| strategy | examples by | fixed | median steps | Δ accuracy, pp | others fixed | others broken "
        "| broken per fixed (95 %) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for strategy, rows in found["strategies"].items():
        for selector, row in rows.items():
            steps = "-" if row["median_steps"] is None else f"{row['median_steps']:g}"
            lines.append(
                f"| {strategy} | {_words(selector)} | {row['success']:.0%} | {steps} | "
                f"{_means(row)} | {_ratio(row)} |"
            )
    lines += [
        "",
        "| paired differences | fixed, pp | Δ accuracy, pp | others fixed | others broken |",
        "|---|---|---|---|---|",
    ]
    for strategy, rows in found["differences"].items():
        ours = _words(next(iter(found["strategies"][strategy])))
        for selector, row in rows.items():
            fixed = f"{100 * row['success']:+.0f} ± {100 * row['success_standard_error']:.0f}"
            lines.append(
                f"| {strategy}: {ours} less {_words(selector)} | {fixed} | {_means(row, sign='+')} |"
            )
    return [*lines, ""]


def _words(selector: str) -> str:
    return selector.replace("_", " ").replace("random same class", "random, same class")


def _means(row: dict[str, Any], sign: str = "") -> str:
    """Accuracy, others fixed and others broken, each with its standard error, as cells."""
    return " | ".join(
        f"{scale * row[key]:{style}} ± {scale * row[f'{key}_standard_error']:.{places}f}"
        for key, scale, style, places in (
            ("accuracy_change", 100, "+.2f", 2),
            ("newly_fixed", 1, f"{sign}.1f", 1),
            ("newly_broken", 1, f"{sign}.1f", 1),
        )
    )


def _ratio(row: dict[str, Any]) -> str:
    """Others broken for each other one fixed, with its 95 % interval."""
    if row["broken_per_fixed"] is None:
        return "-"
    interval = row["broken_per_fixed_interval"]
    around = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    return f"{row['broken_per_fixed']:.2f}{around}"


if __name__ == "__main__":
    main()
