"""One benchmark script, run again by a Python that has the library that it compares with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIABLE = "TRACEFIX_PEERS_PYTHON"
ROOT = Path(__file__).resolve().parents[3]


def run(
    script: str,
    library: str,
    measured: Callable[[], dict[str, Any]],
    output: Path,
    *,
    module: str | None = None,
) -> None:
    """Write and print what ``measured`` finds in the Python that `VARIABLE` names; without a usable one, say so.

    Args:
        script: the calling file, which calls this again in that Python.
        library: what that Python has to have.
        output: the JSON file.
        module: what the library is imported as, where that is not its name.
    """
    if sys.argv[1:] == ["--here"]:
        print(json.dumps(measured()))
        return
    python = os.environ.get(VARIABLE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    wanted = f"a Python that has {library} and Tracefix's own needs"
    if not python:
        print(f"Left out: set {VARIABLE} to {wanted}.")
        return
    if not _imports(python, [module or library, "attribution"], environment):
        print(f"Left out: {VARIABLE} is '{python}', which is not {wanted}.")
        return
    found = subprocess.run(
        [python, script, "--here"], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    results = json.loads(found.stdout.splitlines()[-1])
    output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def _imports(python: str, modules: list[str], environment: dict[str, str]) -> bool:
    """Whether that Python is there and has the modules."""
    try:
        found = subprocess.run(
            [python, "-c", f"import {', '.join(modules)}"], env=environment, check=False, capture_output=True
        )
    except OSError:
        return False
    return found.returncode == 0
