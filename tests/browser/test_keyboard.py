"""The whole loop without a mouse: Tab, Enter, and the keys of the page."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from attribution.projects import Project
from tests.browser.conftest import Server
from tests.browser.screens import cards, heading, rows, settled
from tests.browser.test_loop import HISTORY, MISPREDICTIONS, WORK_PATIENCE

MOST_TABS = 120

FOCUSED = """() => {
  let element = document.activeElement
  while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement
  if (!element || element === document.body) return ""
  const outline = getComputedStyle(element)
  const seen = outline.outlineStyle !== "none" || outline.boxShadow !== "none" ? "" : " (focus is not to be seen)"
  return (element.getAttribute("aria-label") || element.innerText || "").trim().split("\\n").pop() + seen
}"""


def tab_to(page: Page, name: str) -> str:
    """Press Tab until something of that name (a regular expression) has the focus, which must be visible there."""
    passed = []
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        focused: str = page.evaluate(FOCUSED)
        passed.append(focused)
        if re.fullmatch(name, focused):
            return focused
    raise AssertionError(f"'{name}' cannot be reached with Tab; passed {passed}")


def test_the_loop_with_the_keyboard_alone(page: Page, server: Server) -> None:
    project = Project.open(server.projects / "digits")
    expected = project.mispredictions()
    page.goto("/")
    expect(page.locator(".st-key-open-digits")).to_be_visible()
    settled(page)
    tab_to(page, "Open")
    page.keyboard.press("Enter")
    expect(rows(page, MISPREDICTIONS).first).to_be_visible()
    settled(page)
    tab_to(page, f"Investigate {expected[0]['id']}: .*")
    page.keyboard.press("Enter")

    culprits = heading(page, "Culprits")
    expect(culprits).to_be_visible(timeout=WORK_PATIENCE)
    settled(page)
    page.keyboard.press("n")
    expect(page).to_have_url(re.compile(f"example={expected[1]['id']}"))
    expect(culprits).to_be_visible(timeout=WORK_PATIENCE)
    settled(page)
    page.keyboard.press("p")
    expect(page).to_have_url(re.compile(f"example={expected[0]['id']}"))
    expect(culprits).to_be_visible(timeout=WORK_PATIENCE)
    settled(page)

    # A helper by its button; X takes it out again, U takes that back.
    chosen = tab_to(page, "Up-weight .*").removeprefix("Up-weight ")
    page.keyboard.press("Enter")
    expect(heading(page, "Fix tray (1)")).to_be_visible()
    settled(page)
    expect(cards(page, "Helpers").locator(".pressed")).to_be_focused()
    page.keyboard.press("x")
    expect(heading(page, "Fix tray (0)")).to_be_visible()
    page.keyboard.press("u")
    expect(heading(page, "Fix tray (1)")).to_be_visible()
    settled(page)

    # L goes to the list of classes of a culprit's card.
    page.reload()
    expect(culprits).to_be_visible(timeout=WORK_PATIENCE)
    settled(page)
    tab_to(page, "Relabel .*")
    page.keyboard.press("l")
    assert re.fullmatch("Relabel .* as", page.evaluate(FOCUSED))

    tab_to(page, "(Up-weight|Relabel) .*")
    page.keyboard.press("f")
    expect(heading(page, "Beside its controls")).to_be_visible(timeout=WORK_PATIENCE)
    settled(page)
    fix_id = re.findall("fix=([a-z0-9-]+)", page.url)[0]
    assert project.history.get(fix_id).train_ids == [chosen]
    tab_to(page, "Keep")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep")).to_have_count(0)
    settled(page)
    tab_to(page, "History")
    page.keyboard.press("Enter")
    expect(rows(page, HISTORY).first).to_be_visible()
    assert fix_id in {fix.fix_id for fix in project.history.list()}
