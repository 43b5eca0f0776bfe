"""Story mode in a real browser: the report inside the dashboard, without anything to change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from attribution import Engine
from attribution.projects import FixRecord, Project
from dashboard.views.fixes import controls_sentence, steps_sentence
from tests.browser.conftest import Server
from tests.browser.screens import SCREENSHOTS, heading, rows

MADE = 120_000.0


@pytest.fixture(scope="module", params=["digits", "hostile"])
def kept(server: Server, request: pytest.FixtureRequest) -> Iterator[tuple[str, FixRecord]]:
    """A kept fix, made outside the server."""
    project = Project.open(server.projects / request.param)
    fix = Engine(project, device="cpu").fix(project.mispredictions()[-1]["id"])
    project.history.save(fix)
    yield request.param, fix
    project.history.delete(fix.fix_id)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_link_tells_the_story_in_a_fresh_browser(
    chromium: Browser, server: Server, kept: tuple[str, FixRecord], scheme: str
) -> None:
    sample, fix = kept
    context = chromium.new_context(
        base_url=server.address,
        viewport={"width": 1280, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    page.goto(f"/preview?project={sample}&fix={fix.fix_id}&view=story")
    story = page.frame_locator("iframe")
    expect(story.get_by_text(steps_sentence(fix)).first).to_be_visible(timeout=MADE)
    expect(story.get_by_text(controls_sentence(fix)).first).to_be_visible()
    expect(story.locator("section[id^=step-]")).to_have_count(5)
    # The page scrolls, not a frame within it.
    frame = page.locator("iframe").bounding_box()
    assert frame is not None
    assert frame["height"] >= story.locator("body").evaluate("body => body.scrollHeight")
    for name in ("Keep", "Discard", "Suggest & preview", "Verify by retraining", "Mispredictions"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    assert page.evaluate("window.harmed") is None and not story.locator("body").evaluate(
        "() => window.harmed"
    )
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"story-{sample}-{scheme}.png")
    story.get_by_role("link", name="The proof").click()
    expect(story.locator("#step-5 h2")).to_be_in_viewport()
    context.close()


def test_from_the_preview_to_the_story_and_back(
    page: Page, server: Server, kept: tuple[str, FixRecord]
) -> None:
    sample, fix = kept
    page.goto(f"/preview?project={sample}&fix={fix.fix_id}")
    page.get_by_role("button", name="Story", exact=True).click()
    expect(page.frame_locator("iframe").get_by_text(steps_sentence(fix)).first).to_be_visible(timeout=MADE)
    page.get_by_role("button", name="Open the fix").click()
    expect(heading(page, "Beside its controls")).to_be_visible()
    expect(page.locator("iframe")).to_have_count(0)
    page.goto(f"/history?project={sample}")
    row = rows(page, "Kept fixes: activate a row to open it again").first
    row.get_by_role("button", name="Story").click()
    expect(page.frame_locator("iframe").get_by_text(steps_sentence(fix)).first).to_be_visible(timeout=MADE)
