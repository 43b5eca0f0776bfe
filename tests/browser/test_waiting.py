"""A page that waits for a job: in two tabs, closed, clicked, and with a job that is cancelled or fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import start_server

PAGE = Path(__file__).with_name("waiting_page.py")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the waiting page."""
    options = ["--server.headless=true", "--server.fileWatcherType=none", "--browser.gatherUsageStats=false"]
    arguments = ["-m", "streamlit", "run", str(PAGE), "--server.port=PORT", *options]
    process, found = start_server(arguments, tmp_path_factory.mktemp("logs") / "waiting.log")
    yield found
    process.terminate()
    process.wait(timeout=20)


def test_nothing_of_the_page_before_can_be_clicked_meanwhile(page: Page, address: str) -> None:
    page.goto(f"{address}/?kind=short")
    expect(page.get_by_role("button", name="Keep")).to_be_visible()
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    expect(page.get_by_role("button", name="Keep")).to_have_count(0, timeout=1000)
    expect(page.get_by_text("Result")).to_have_count(0, timeout=1000)
    expect(page.get_by_text("Done")).to_be_visible()


def test_two_tabs_see_the_end_of_a_job_and_are_drawn_once_more(context: BrowserContext, address: str) -> None:
    tabs = [context.new_page() for _ in range(2)]
    for tab in tabs:
        tab.goto(f"{address}/?kind=failing&begun=yes")
        expect(tab.get_by_role("button", name="Cancel")).to_be_visible()
    for tab in tabs:
        expect(tab.get_by_text("Something unexpected went wrong")).to_be_visible()
        expect(tab.get_by_text("Drawn 2 times")).to_be_visible()
        tab.wait_for_timeout(1000)
        expect(tab.get_by_text("Drawn 2 times")).to_be_visible()


def test_a_closed_tab_waits_no_longer_and_a_cancelled_job_ends_the_others(
    context: BrowserContext, address: str
) -> None:
    stays, closed = (context.new_page() for _ in range(2))
    for tab in (stays, closed):
        tab.goto(f"{address}/?kind=endless&begun=yes")
        expect(tab.get_by_role("button", name="Cancel")).to_be_visible()
    closed.close()
    stays.wait_for_timeout(1500)
    stays.get_by_role("button", name="Look again").click()
    expect(stays.get_by_text("Drawn 2 times")).to_be_visible()
    expect(stays.get_by_text("0 others")).to_be_visible()
    stays.get_by_role("button", name="Cancel").click()
    expect(stays.get_by_text("Cancelled: nothing was changed")).to_be_visible()
