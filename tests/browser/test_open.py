"""Opening a model of one's own in a real browser: from the landing page to its mispredictions."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
from playwright.sync_api import Page, expect

from attribution.projects import Project
from tests.browser.conftest import Server
from tests.browser.screens import heading, rows, screenshot
from tests.own_files import own_files

WORK_PATIENCE = 120_000.0
HARM = "<img src=x onerror=window.harmed=1> film"


def test_from_a_checkpoint_and_two_tables_to_the_mispredictions(
    page: Page, server: Server, tmp_path: Path
) -> None:
    own = own_files(tmp_path / "films")
    table = pd.read_csv(own.train)
    table.loc[0, "review"] = HARM
    table.to_csv(own.train, index=False)

    page.goto("/")
    page.locator(".st-key-open-own").get_by_role("button").click()
    expect(heading(page, "Open your own")).to_be_visible()
    for label, path in (
        ("Folder of the model", own.model),
        ("Training table", own.train),
        ("Test table", tmp_path / "nowhere.csv"),
    ):
        field = page.get_by_label(label, exact=True)
        field.fill(str(path))
        field.press("Enter")
    expect(page.get_by_text("nowhere.csv' does not exist on this machine")).to_be_visible()
    expect(page.get_by_role("button", name="Check and open")).to_be_disabled()
    expect(page.get_by_label("Folder of the model", exact=True)).to_have_value(str(own.model))

    # Chosen instead of typed.
    page.locator(".st-key-browse-own-test").get_by_role("button", name="Browse").click()
    page.get_by_label("Test table: go into a folder, or choose a file").click()
    page.get_by_role("option", name="films/").click()
    page.get_by_label("Test table: go into a folder, or choose a file").click()
    page.get_by_role("option", name="test.csv").click()
    expect(page.get_by_label("Test table", exact=True)).to_have_value(str(own.test))
    page.keyboard.press("Escape")

    expect(page.get_by_role("table", name="The first training rows").get_by_text(HARM)).to_be_visible()
    checkpoints = page.get_by_role("table", name="Checkpoints found")
    expect(checkpoints.get_by_role("row")).to_have_count(3)
    expect(page.get_by_text("--text review --label sentiment --id id")).to_be_visible()
    screenshot(page, "open-your-own")
    page.reload()
    expect(page.get_by_label("Training table", exact=True)).to_have_value(str(own.train))
    assert page.evaluate("window.harmed") is None

    page.get_by_role("button", name="Check and open").click()
    expect(page).to_have_url(re.compile(r"/mispredictions\?project=films"), timeout=WORK_PATIENCE)
    project = Project.open(server.projects / "films")
    expect(rows(page, "Mispredictions: activate a row to investigate it")).to_have_count(
        len(project.mispredictions())
    )
    page.go_back()
    expect(heading(page, "Open your own")).to_be_visible()
    expect(page.get_by_label("Training table", exact=True)).to_have_value(str(own.train))
