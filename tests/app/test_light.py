"""The first pages wait for no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.app.drawn_pages import APP

HEAVY = ("torch", "transformers", "captum")

PROGRAM = f"""
import sys
import dashboard.app
heavy = {HEAVY!r}
assert not [name for name in heavy if name in sys.modules], "importing the app"
from streamlit.testing.v1 import AppTest
from dashboard import engines
engines.Warmth.start = lambda self: None  # both work in the background, after the page is drawn
engines.preload = lambda opened: None
app = AppTest.from_file({str(APP)!r}, default_timeout=60).run()
assert not app.exception and not app.error
app.query_params["project"] = "digits"
app.switch_page("app_pages/mispredictions.py").run()
assert not app.exception and not app.error, app.error
assert app.metric
loaded = [name for name in heavy if name in sys.modules]
assert not loaded, loaded
"""


def test_first_pages_import_nothing_heavy(projects: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=120,
        env=dict(os.environ),
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
