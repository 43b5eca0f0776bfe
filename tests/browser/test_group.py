"""Several at once in a real browser: ticking, what they have in common, links that survive a refresh, the fix."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.screens import cards, heading, settled


def parameters(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


@pytest.mark.parametrize("width", [1440, 390])
def test_ticked_rows_are_fixed_together(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("/mispredictions?project=digits")
    boxes = page.get_by_role("checkbox", name="Choose digit-")
    boxes.nth(0).click()
    expect(page.get_by_role("button", name="Fix these 1 together")).to_be_disabled()
    boxes.nth(2).click()
    expect(page.get_by_role("button", name="Fix these 2 together")).to_be_enabled()
    expect(page.get_by_role("checkbox", name="Choose all on this page")).to_have_js_property(
        "indeterminate", True
    )
    boxes.nth(1).press("Space")
    expect(page.get_by_role("button", name="Fix these 3 together")).to_be_enabled()
    expect(boxes.nth(1)).to_be_focused()
    expect(page).to_have_url(re.compile("/mispredictions"))
    page.reload()
    for row, ticked in enumerate((True, True, True, False)):
        expect(boxes.nth(row)).to_be_checked(checked=ticked)
    ids = parameters(page)["ticked"].split(",")

    page.get_by_role("button", name="Fix these 3 together").click()
    expect(cards(page, "Common culprits")).to_have_count(10)
    expect(cards(page, "Common culprits").first).to_contain_text("of 3")
    assert parameters(page)["examples"].split(",") == ids
    page.reload()
    mistakes = page.get_by_role(
        "list", name="Mispredictions that are explained and fixed together"
    ).get_by_role("listitem")
    expect(mistakes).to_have_count(3)
    page.get_by_role("button", name=f"Leave {ids[0]} out").click()
    expect(mistakes).to_have_count(2)
    expect(cards(page, "Common culprits").first).to_contain_text("of 2")
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    page.get_by_role("button", name="Suggest & preview").nth(
        0 if width > 640 else -1
    ).click()  # sidebar, or bar
    expect(heading(page, "Beside its controls")).to_be_visible()
    expect(
        page.get_by_role("list", name="What became of each prediction").get_by_role("listitem")
    ).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    settled(page)
    page.get_by_role("button", name="Back to the examples").click()
    expect(mistakes).to_have_count(2)
    assert parameters(page)["examples"].split(",") == ids[1:]


def test_all_on_a_page_are_ticked_and_unticked(page: Page) -> None:
    page.goto("/mispredictions?project=digits&true=9")
    everything = page.get_by_role("checkbox", name="Choose all on this page")
    boxes = page.get_by_role("checkbox", name="Choose digit-")
    expect(boxes).to_have_count(6)
    everything.click()
    expect(page.get_by_role("button", name="Untick all")).to_be_visible()
    for row in range(6):
        expect(boxes.nth(row)).to_be_checked()
    everything.click()
    expect(page.get_by_role("button", name="Untick all")).to_have_count(0)
    expect(boxes.first).not_to_be_checked()


def test_a_cluster_is_chosen_from_its_list(page: Page) -> None:
    page.goto("/mispredictions?project=digits")
    page.get_by_role("combobox", name="Errors of a common cause").click()
    first = page.get_by_role("option").first
    count = first.inner_text().rpartition("(")[2].rstrip(")")
    first.click()
    expect(page.get_by_role("button", name=f"Fix these {count} together")).to_be_visible()
    assert parameters(page)["cluster"].startswith("digit-")
