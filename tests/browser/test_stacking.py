"""A fix on top of another one in a real browser, and two fixes compared from the history."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from attribution import Engine
from attribution.projects import FixRecord, Project
from tests.browser.conftest import Server
from tests.browser.screens import heading, rows, screenshot
from tests.browser.test_loop import HISTORY, MISPREDICTIONS, WORK_PATIENCE


@pytest.fixture(scope="module")
def base(server: Server) -> FixRecord:
    """A kept fix."""
    project = Project.open(server.projects / "digits")
    fix = Engine(project, device="cpu").fix(project.mispredictions()[4]["id"])
    project.history.save(fix)
    return fix


def test_fix_another_on_top_and_go_back(page: Page, server: Server, base: FixRecord) -> None:
    page.goto(f"/preview?project=digits&fix={base.fix_id}")
    page.get_by_role("button", name="Fix another on top").click()
    expect(page).to_have_url(re.compile(f"/mispredictions\\?.*base={base.fix_id}"))
    expect(page.get_by_text("On top of a fix")).to_be_visible()
    expect(rows(page, MISPREDICTIONS).first).to_be_visible(timeout=WORK_PATIENCE)
    screenshot(page, "stack-mispredictions")

    rows(page, MISPREDICTIONS).nth(2).click()
    expect(page).to_have_url(re.compile(f"/investigate\\?.*base={base.fix_id}"))
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
    page.get_by_role("button", name="Suggest & preview").click()
    expect(heading(page, "Beside its controls")).to_be_visible(timeout=WORK_PATIENCE)
    expect(page.get_by_text("Both fixes together, against the original model")).to_be_visible()
    screenshot(page, "stack-preview")
    page.get_by_role("button", name="Keep").click()
    page.get_by_role("button", name="Fix another on top").click()
    expect(page.get_by_text("On top of 2 fixes")).to_be_visible()
    expect(rows(page, MISPREDICTIONS).first).to_be_visible(timeout=WORK_PATIENCE)

    page.get_by_role("button", name="Undo").click()
    expect(page).to_have_url(re.compile(f"base={base.fix_id}"))
    page.get_by_role("button", name="Redo").click()
    expect(page.get_by_text("On top of 2 fixes")).to_be_visible()
    page.reload()
    expect(page.get_by_text("On top of 2 fixes")).to_be_visible()
    page.get_by_role("button", name="Original model").click()
    expect(page.get_by_text("On top of")).to_have_count(0)
    expect(page).not_to_have_url(re.compile("base="))
    made = Project.open(server.projects / "digits").history.list()[0]
    assert made.base == base.fix_id


def test_two_fixes_are_compared_from_the_history(page: Page, server: Server, base: FixRecord) -> None:
    project = Project.open(server.projects / "digits")
    other = Engine(project, device="cpu").fix(project.mispredictions()[5]["id"], controls=False)
    project.history.save(other)
    page.goto("/history?project=digits")
    expect(rows(page, HISTORY).first).to_be_visible()
    name = f"Fix of test example {other.test_id}"
    page.get_by_role("button", name=f"Compare: {name}").first.click()
    expect(page.get_by_text("Choose the fix to compare with")).to_be_visible()
    page.get_by_role("button", name=f"Compare with it: Fix of test example {base.test_id}").first.click()
    expect(page).to_have_url(re.compile("/compare_fixes\\?.*fixes="))
    table = page.get_by_role("table", name="Recipe and result of the two fixes")
    expect(table.get_by_role("row").nth(1)).to_contain_text(other.test_id)
    expect(table.get_by_role("row").nth(1)).to_contain_text(base.test_id)
    expect(heading(page, "Predictions that changed")).to_be_visible()
    screenshot(page, "compare-fixes")
    page.get_by_test_id("stMain").get_by_role("button", name="History").click()
    expect(page.get_by_text("Choose the fix to compare with")).to_have_count(0)
