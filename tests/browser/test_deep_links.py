"""A link opened in a fresh browser shows what it showed where it was copied: example, selection, pins, fix."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, expect

from attribution.projects import Project
from dashboard.views.fixes import steps_sentence
from tests.browser.conftest import Server
from tests.browser.screens import cards, heading

WORK_PATIENCE = 120_000.0


def test_a_link_carries_example_selection_and_fix(page: Page, chromium: Browser, server: Server) -> None:
    project = Project.open(server.projects / "digits")
    example = project.mispredictions()[2]["id"]
    page.goto(f"/investigate?project=digits&example={example}")
    expect(cards(page, "Helpers")).to_have_count(10, timeout=WORK_PATIENCE)
    helper = cards(page, "Helpers").nth(1)
    chosen = helper.get_attribute("data-example")
    helper.get_by_role("button", name="Up-weight").click()
    expect(heading(page, "Fix tray (1)")).to_be_visible()
    culprit = cards(page, "Culprits").nth(2)
    pinned = culprit.get_attribute("data-example")
    culprit.get_by_role("button", name="Pin to compare").click()
    expect(heading(page, f"Training example {pinned}")).to_be_visible()
    expect(page).to_have_url(re.compile("pins="))

    context = chromium.new_context(base_url=server.address, viewport={"width": 1440, "height": 900})
    fresh = context.new_page()
    fresh.goto(page.url)
    expect(fresh.get_by_text(f"test example {example}")).to_be_visible(timeout=WORK_PATIENCE)
    expect(heading(fresh, "Fix tray (1)")).to_be_visible()
    expect(heading(fresh, f"Training example {pinned}")).to_be_visible()
    mine = cards(fresh, "Helpers").filter(
        has=fresh.get_by_role("button", pressed=True, name=f"Up-weight {chosen}")
    )
    expect(mine).to_have_count(1)

    page.get_by_role("button", name="Suggest & preview").click()
    expect(heading(page, "Beside its controls")).to_be_visible(timeout=WORK_PATIENCE)
    expect(page).to_have_url(re.compile("fix=fix-"))
    fix = project.history.get(re.findall("fix=(fix-[a-z0-9]+)", page.url)[0])
    fresh.goto(page.url)
    expect(fresh.get_by_text(steps_sentence(fix))).to_be_visible()
    expect(heading(fresh, "Fix tray (1)")).to_be_visible()
    assert [edit.train_id for edit in fix.edits] == [chosen]
    context.close()
