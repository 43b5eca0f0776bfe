"""What the model looked at, in a real browser: marks that are words and never markup, tints, switches, keys."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from attribution import create_project, prepare
from attribution.projects import Manifest, Project, TaskSource
from tests.browser.conftest import Server
from tests.browser.screens import cards, heading, screenshot
from tests.browser.test_loop import WORK_PATIENCE

SWITCH = "What the model looked at"


@pytest.fixture(scope="module")
def words(server: Server) -> Project:
    """A project whose words try to be markup."""
    folder = server.projects / "hostile-words"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("hostile_words_task.py"), folder / "task.py")
    source = TaskSource(file="task.py", function="build")
    prepare(
        create_project(folder, Manifest(name="hostile-words", title="Words", source=source)), device="cpu"
    )
    return Project.open(folder)


def test_words_are_marked_and_never_run(page: Page, words: Project) -> None:
    example = words.mispredictions()[0]
    page.goto(f"/investigate?project=hostile-words&example={example['id']}")
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
    pinned = page.locator(".st-key-pinned")
    marked = pinned.locator(".mark-word")
    expect(marked.first).to_be_visible(timeout=WORK_PATIENCE)
    strongest = pinned.locator(".mark-word.strong").first
    expect(strongest).to_contain_text(re.compile(r"[<*:$]"))
    expect(strongest).to_have_attribute("title", re.compile("^[+−][0-9.]+: (towards|away)"))
    expect(pinned.locator(".unseen")).to_contain_text("<u>cut</u>")
    assert pinned.locator(".words.marked").inner_text().split() == example["input"].split()
    expect(pinned).to_contain_text("towards “<b>good</b>”")
    card = cards(page, "Culprits").first
    card.get_by_role("button", name=SWITCH).click()
    expect(card.locator(".words.marked")).to_contain_text(
        "<script>window.harmed=1</script>", timeout=WORK_PATIENCE
    )
    screenshot(page, "words-looked-at")
    assert page.evaluate("window.harmed") is None
    expect(
        page.get_by_test_id("stMain").locator("img[src=x], .words b, .words u, .words script")
    ).to_have_count(0)


def test_tints_come_and_go(page: Page, server: Server) -> None:
    example = Project.open(server.projects / "digits").mispredictions()[1]["id"]
    page.goto(f"/investigate?project=digits&example={example}")
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
    pinned = page.locator(".st-key-pinned")
    expect(pinned.locator(".tint")).to_have_count(2, timeout=WORK_PATIENCE)
    expect(pinned.get_by_role("img")).to_have_attribute(
        "alt", re.compile("strongest first: (top|middle|bottom) ")
    )
    picture, tint = pinned.get_by_role("img").bounding_box(), pinned.locator(".tint.up").bounding_box()
    assert picture is not None and tint is not None
    assert abs(picture["width"] - tint["width"]) <= 2 and abs(picture["x"] - tint["x"]) <= 1
    card = cards(page, "Helpers").nth(1)
    look = card.get_by_role("button", name=SWITCH)
    look.focus()
    page.keyboard.press("Enter")
    expect(card.locator(".tint")).to_have_count(2, timeout=WORK_PATIENCE)
    expect(look).to_have_attribute("aria-pressed", "true")
    expect(look).to_be_focused()
    why = card.get_by_role("button", name="Why the score of")
    why.click()
    expect(card.locator(".why")).to_contain_text(
        re.compile("comes through “layer [135]”"), timeout=WORK_PATIENCE
    )
    expect(card.locator(".why").get_by_role("listitem")).to_have_count(3)
    screenshot(page, "digits-looked-at")
    page.emulate_media(color_scheme="dark")
    screenshot(page, "digits-looked-at-dark")
    page.get_by_role("switch", name=SWITCH).or_(page.get_by_role("checkbox", name=SWITCH)).first.focus()
    page.keyboard.press("Space")
    expect(pinned.locator(".tint")).to_have_count(0)
    expect(pinned.get_by_role("img")).to_be_visible()
    expect(card.locator(".tint")).to_have_count(2)
    look.click()
    expect(card.locator(".tint")).to_have_count(0)
    page.reload()
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
