"""The guided first visit: four steps where they are taken, in nobody's way, and gone for good when closed."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect

from attribution.projects import Project
from tests.browser.conftest import Server
from tests.browser.screens import cards, heading, rows, screenshot, settled
from tests.browser.test_loop import MISPREDICTIONS, WORK_PATIENCE

NAME = "Guide for a first visit"


def test_four_steps_lead_from_a_misprediction_to_a_kept_fix(page: Page, server: Server) -> None:
    guide = page.get_by_role("region", name=NAME)
    page.goto("/mispredictions?project=digits")
    expect(guide).to_contain_text("Step 1 of 4")
    screenshot(page, "guide-1")
    rows(page, MISPREDICTIONS).nth(2).click()
    expect(guide).to_contain_text("Step 2 of 4")
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
    guide.get_by_role("button", name="Go on").focus()
    page.keyboard.press("Enter")
    expect(guide).to_contain_text("Step 3 of 4")
    cards(page, "Helpers").first.get_by_role("button", name="Up-weight").click()
    expect(heading(page, "Fix tray (1)")).to_be_visible()
    expect(guide).to_contain_text("Step 3 of 4")
    screenshot(page, "guide-3")
    page.get_by_test_id("stSidebar").get_by_role("button", name="Suggest & preview").click()
    expect(heading(page, "Beside its controls")).to_be_visible(timeout=WORK_PATIENCE)
    expect(guide).to_contain_text("Step 4 of 4")
    screenshot(page, "guide-4")
    guide.get_by_role("button", name="Done").click()
    expect(guide).to_have_count(0)
    # A second tab is another session of the same browser.
    second = page.context.new_page()
    second.goto("/mispredictions?project=digits")
    expect(rows(second, MISPREDICTIONS).first).to_be_visible()
    settled(second)
    expect(second.get_by_role("region", name=NAME)).to_have_count(0)
    expect(second.locator(".st-key-guide-mispredictions")).to_be_hidden()


def test_only_the_sample_is_guided(page: Page, server: Server) -> None:
    page.goto("/mispredictions?project=hostile")
    expect(rows(page, MISPREDICTIONS).first).to_be_visible()
    settled(page)
    expect(page.get_by_role("region", name=NAME)).to_have_count(0)


def test_where_the_browser_may_not_remember_the_session_does(chromium: Browser, server: Server) -> None:
    context = chromium.new_context(base_url=server.address)
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no') } })"
    )
    try:
        page = context.new_page()
        page.goto("/mispredictions?project=digits")
        guide = page.get_by_role("region", name=NAME)
        guide.get_by_role("button", name="Close guide").click()
        expect(guide).to_have_count(0)
        rows(page, MISPREDICTIONS).first.click()
        expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
        settled(page)
        expect(guide).to_have_count(0)
    finally:
        context.close()


def test_on_a_phone_it_is_in_the_flow_above_what_it_talks_about(page: Page, server: Server) -> None:
    example = Project.open(server.projects / "digits").mispredictions()[0]["id"]
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"/investigate?project=digits&example={example}")
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
    settled(page)
    box = page.get_by_role("region", name=NAME).bounding_box()
    below = heading(page, "Culprits").bounding_box()
    assert box is not None and below is not None
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert box["y"] + box["height"] <= below["y"]
    screenshot(page, "phone-guide")
