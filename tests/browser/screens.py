"""Where things are on the pages, by role, label and key."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Locator, Page, expect

SCREENSHOTS = Path(__file__).parents[1] / "screenshots"


def rows(page: Page, caption: str) -> Locator:
    """The rows of the table with that caption that lead somewhere."""
    table = page.get_by_role("table", name=caption)
    return table.get_by_role("row").filter(has=page.get_by_role("link"))


def heading(page: Page, name: str) -> Locator:
    """A heading of exactly that name."""
    return page.get_by_role("heading", name=name, exact=True)


def cards(page: Page, column: str) -> Locator:
    """The cards of a column of training examples."""
    return page.get_by_role("region", name=column, exact=True).get_by_role("listitem")


def settled(page: Page) -> None:
    """Nothing is running any more."""
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    expect(page.locator("[data-stale=true]")).to_have_count(0)


def screenshot(page: Page, name: str) -> None:
    """Save a picture of the page into tests/screenshots, which git ignores."""
    SCREENSHOTS.mkdir(exist_ok=True)
    settled(page)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")
