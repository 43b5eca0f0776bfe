"""The whole loop in a real browser: a misprediction, its culprits, a previewed fix, kept, found again."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from attribution.projects import Project
from tests.browser.conftest import Server
from tests.browser.screens import SCREENSHOTS, cards, heading, rows, screenshot

MISPREDICTIONS = "Mispredictions: activate a row to investigate it"
HISTORY = "Kept fixes: activate a row to open it again"
PREPARATION_PATIENCE = 600_000.0
WORK_PATIENCE = 120_000.0


def run_the_loop(page: Page, project: Project, name: str) -> None:
    """From the mispredictions of a prepared project to a kept fix, and back to it."""
    expected = project.mispredictions()
    table = rows(page, MISPREDICTIONS)
    expect(table).to_have_count(min(len(expected), 50))
    screenshot(page, f"{name}-mispredictions")

    # Click 1: a row.
    table.nth(1).click()
    expect(page).to_have_url(re.compile(f"/investigate\\?.*example={expected[1]['id']}"))
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
    expect(cards(page, "Culprits")).to_have_count(10)
    expect(cards(page, "Helpers")).to_have_count(10)
    screenshot(page, f"{name}-investigate")

    # Click 2: Suggest & preview.
    page.get_by_role("button", name="Suggest & preview").click()
    expect(heading(page, "Beside its controls")).to_be_visible(timeout=WORK_PATIENCE)
    expect(page).to_have_url(re.compile("fix=fix-"))
    comparison = page.get_by_role("table", name="The fix next to its controls")
    expect(comparison.get_by_role("row")).to_have_count(4)
    expect(page.get_by_text("not a retrain")).to_be_visible()
    expect(page.get_by_text("Why this was suggested")).to_be_visible()
    previewed = project.history.get(re.findall("fix=([a-z0-9-]+)", page.url)[0])
    expect(heading(page, f"Fix tray ({len(previewed.edits)})")).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_be_visible()
    screenshot(page, f"{name}-preview")

    # Click 3: Keep.
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_role("button", name="Keep")).to_have_count(0)
    fix_id = re.findall("fix=([a-z0-9-]+)", page.url)[0]
    page.reload()
    expect(heading(page, "Beside its controls")).to_be_visible()
    expect(page.get_by_role("button", name="Keep")).to_have_count(0)

    page.get_by_test_id("stMain").get_by_role("button", name="History").click()
    kept = rows(page, HISTORY)
    expect(kept.first).to_be_visible()
    screenshot(page, f"{name}-history")
    assert fix_id in {fix.fix_id for fix in project.history.list()}
    kept.first.click()
    expect(page).to_have_url(re.compile(f"/preview\\?.*fix={fix_id}"))
    expect(heading(page, "Beside its controls")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_loop_on_texts(page: Page, server: Server, scheme: str) -> None:
    """Words that are markup, commands and scripts: the loop is the same, and they do nothing."""
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto("/mispredictions?project=hostile")
    run_the_loop(page, Project.open(server.projects / "hostile"), f"hostile-{scheme}")
    assert page.evaluate("window.harmed") is None


def test_loop_on_digits_in_the_dark(page: Page, server: Server) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto("/mispredictions?project=digits")
    run_the_loop(page, Project.open(server.projects / "digits"), "digits-dark")


def test_loop_on_digits(page: Page, server: Server) -> None:
    page.goto("/")
    expect(heading(page, "Samples")).to_be_visible()
    screenshot(page, "projects")
    page.locator(".st-key-open-digits").get_by_role("button", name="Open").click()
    expect(heading(page, "Mispredictions")).to_be_visible()
    run_the_loop(page, Project.open(server.projects / "digits"), "digits")


@pytest.mark.slow
def test_loop_on_fashion_from_the_card(page: Page, server: Server) -> None:
    """Opening a sample that is not prepared shows its progress and ends on its mispredictions."""
    page.goto("/")
    card = page.locator(".st-key-card-fashion")
    card.get_by_role("button", name="Prepare and open").click()
    expect(card.get_by_role("progressbar")).to_be_visible()
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "preparing.png")
    card.get_by_role("button", name="Cancel").click()
    expect(card.get_by_text("Cancelled: nothing was changed")).to_be_visible()
    card.get_by_role("button", name="Prepare and open").click()
    expect(card.get_by_role("progressbar")).to_be_visible()
    page.reload()
    expect(card.get_by_role("button", name="Cancel")).to_be_visible()
    expect(heading(page, "Mispredictions")).to_be_visible(timeout=PREPARATION_PATIENCE)
    run_the_loop(page, Project.open(server.projects / "fashion"), "fashion")
