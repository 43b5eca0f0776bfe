"""A narrow screen: what the sidebar hides stays within reach."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect

from attribution.projects import Project
from tests.browser.conftest import Server
from tests.browser.screens import cards, heading, screenshot
from tests.browser.test_loop import WORK_PATIENCE


@pytest.fixture
def investigated(page: Page, server: Server) -> Page:
    """Investigate on a screen of a phone's size."""
    example = Project.open(server.projects / "digits").mispredictions()[0]["id"]
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"/investigate?project=digits&example={example}")
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
    return page


def test_the_tray_and_its_button_are_in_view_without_the_sidebar(investigated: Page) -> None:
    bar = investigated.locator(".st-key-tray-bar")
    expect(bar.get_by_role("button", name="Fix tray (0)")).to_be_in_viewport()
    cards(investigated, "Helpers").first.get_by_role("button", name="Up-weight").click()
    counted = bar.get_by_role("button", name="Fix tray (1)")
    expect(counted).to_be_in_viewport()
    counted.click()
    opened = investigated.get_by_test_id("stPopoverBody")
    chosen = opened.get_by_role("list", name="Chosen training examples")
    expect(chosen.get_by_role("listitem")).to_have_count(1)
    screenshot(investigated, "phone-tray")
    chosen.get_by_role("button", name=re.compile("Remove .* from selection")).click()
    expect(bar.get_by_role("button", name="Fix tray (0)")).to_be_visible()
    investigated.keyboard.press("Escape")
    bar.get_by_role("button", name="Suggest & preview").click()
    expect(heading(investigated, "Beside its controls")).to_be_visible(timeout=WORK_PATIENCE)
    expect(bar.get_by_role("button", name=re.compile(r"Fix tray \([1-9]"))).to_be_in_viewport()


def test_a_preview_shows_its_harm_and_its_curves_apart(investigated: Page) -> None:
    investigated.locator(".st-key-tray-bar").get_by_role("button", name="Suggest & preview").click()
    expect(heading(investigated, "Beside its controls")).to_be_visible(timeout=WORK_PATIENCE)
    table = investigated.get_by_role("table", name="The fix next to its controls")
    broken = table.get_by_role("columnheader", name="Others broken").bounding_box()
    assert broken is not None and broken["x"] + broken["width"] <= 390
    titles = investigated.locator(".js-plotly-plot .annotation")
    expect(titles).to_have_count(3)
    boxes = [title.bounding_box() for title in titles.all()]
    for left, right in pairwise(boxes):
        assert left is not None and right is not None
        assert left["x"] + left["width"] <= right["x"], "titles of panels run into each other"
    table.scroll_into_view_if_needed()
    screenshot(investigated, "phone-preview")


def test_the_bar_covers_nothing_at_the_end_of_the_page(investigated: Page) -> None:
    last = cards(investigated, "Helpers").last
    last.scroll_into_view_if_needed()
    investigated.get_by_test_id("stMain").evaluate("element => element.scrollTo(0, element.scrollHeight)")
    bar = investigated.locator(".st-key-tray-bar").bounding_box()
    card = last.bounding_box()
    assert bar is not None and card is not None
    assert card["y"] + card["height"] <= bar["y"]


def test_a_wide_screen_has_the_sidebar_and_no_bar(investigated: Page) -> None:
    investigated.set_viewport_size({"width": 1440, "height": 900})
    expect(investigated.locator(".st-key-tray-bar")).to_be_hidden()
    expect(investigated.get_by_role("button", name="Suggest & preview")).to_have_count(1)
