"""Import boundaries: who may import whom, and what stays light so that help and first pages come at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import attribution
import attribution.fixing
import attribution.sources

ROOT = Path(__file__).parents[2]

ENGINES = ("torch", "transformers", "captum", "sklearn")
INTERFACES = ("streamlit", "plotly", "typer", "rich")


def imported_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running the code."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd=ROOT, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return set(json.loads(ran.stdout.splitlines()[-1]))


def test_imports_point_one_way() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 broken" in ran.stdout


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import attribution", (*ENGINES, *INTERFACES, "pandas", "numpy")),
        ("import sample_models", (*ENGINES, *INTERFACES, "pandas", "numpy")),
        ("import attribution.projects", (*ENGINES, *INTERFACES)),
        ("from attribution.methods import list_methods; list_methods()", (*ENGINES, *INTERFACES)),
        ("from attribution.fixing import STRATEGIES", (*ENGINES, *INTERFACES)),
        ("from attribution.sources.tables import read_table", (*ENGINES, *INTERFACES)),
        ("import dashboard.cli", (*ENGINES, "streamlit", "plotly", "pandas")),
        (
            "import dashboard.opening, dashboard.locations, dashboard.new_project",
            (*ENGINES, "streamlit", "plotly"),
        ),
        ("import dashboard.launch", (*ENGINES, "streamlit", "plotly")),
        ("import dashboard.app", ENGINES),
        ("import dashboard.tray_panel, dashboard.fix_panels, dashboard.tables", ENGINES),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_importing_stays_light(code: str, heavy: tuple[str, ...]) -> None:
    assert imported_by(code).isdisjoint(heavy)


@pytest.mark.parametrize("package", [attribution, attribution.fixing, attribution.sources])
def test_every_public_name_is_found_on_first_use(package: ModuleType) -> None:
    assert all(getattr(package, name) is not None for name in package.__all__)
    assert set(package.__all__) == set(package._HOME)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["methods", "--json"], ["mispredictions", "no-such-project"]], ids=" ".join
)
def test_these_commands_load_no_model_library(arguments: list[str]) -> None:
    loaded = imported_by(f"from dashboard.cli import main\nmain({arguments!r})")
    assert loaded.isdisjoint({*ENGINES, "streamlit"})


def test_a_prepared_project_is_read_without_torch(prepared_digits: object) -> None:
    code = (
        "from attribution.projects import Project\n"
        f"project = Project.open({str(prepared_digits.directory)!r})\n"  # type: ignore[attr-defined]
        "assert project.prepared and project.mispredictions() and project.history.list() is not None"
    )
    assert imported_by(code).isdisjoint(ENGINES)
