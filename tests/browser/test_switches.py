"""Method and measurement switches, and the cards of Compare, where only a real browser can tell."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, expect

from attribution.projects import Project
from tests.browser.conftest import Server
from tests.browser.screens import cards, heading, screenshot
from tests.browser.test_loop import WORK_PATIENCE


@pytest.fixture
def example(server: Server) -> str:
    return str(Project.open(server.projects / "digits").mispredictions()[0]["id"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A function file that says when it is run, in a folder with a long name."""
    path = tmp_path / ("a-folder-whose-name-is-rather-long-" * 4) / "mine.py"
    path.parent.mkdir()
    mark = tmp_path / "mark"
    path.write_text(
        f"open({str(mark)!r}, 'w').close()\n\n\ndef lead(logits):\n    return logits[:, 0] - logits[:, 1]\n",
        encoding="utf-8",
    )
    return path


def box(element: Locator) -> tuple[float, float, float, float]:
    """Left, top, right, bottom in CSS pixels."""
    found = element.bounding_box()
    assert found is not None
    return found["x"], found["y"], found["x"] + found["width"], found["y"] + found["height"]


def apart(first: Locator, second: Locator) -> bool:
    left, top, right, bottom = box(first)
    other_left, other_top, other_right, other_bottom = box(second)
    return right <= other_left or other_right <= left or bottom <= other_top or other_bottom <= top


def test_a_function_is_typed_kept_in_the_link_and_left_again(page: Page, example: str, file: Path) -> None:
    page.goto(f"/investigate?project=digits&example={example}")
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
    page.get_by_role("button", name=re.compile("^Measurement: margin")).click()
    field = page.get_by_role("textbox", name="A function of yours")
    field.fill("nowhere.py:lead")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("There is no file")
    expect(page).not_to_have_url(re.compile("measurement="))
    expect(heading(page, "Culprits")).to_be_visible()
    field.fill(f"{file}:lead")
    page.get_by_role("button", name="Run and use it").click()
    expect(page).to_have_url(re.compile("measurement=.*mine\\.py"))
    expect(page.get_by_role("alert")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.get_by_text("Training on these raised “lead()”.")).to_be_visible(timeout=WORK_PATIENCE)
    page.reload()
    expect(page.get_by_text("Training on these raised “lead()”.")).to_be_visible(timeout=WORK_PATIENCE)
    page.get_by_role("button", name=re.compile("^Measurement: lead")).click()
    page.get_by_role("button", name="loss", exact=True).click()
    expect(page).to_have_url(re.compile("measurement=loss"))


@pytest.mark.parametrize("width", [1440, 390])
def test_a_link_to_a_function_waits_for_the_user(page: Page, example: str, file: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"/investigate?project=digits&example={example}&measurement={quote(f'{file}:lead')}")
    expect(page.get_by_text("Training on these pushed towards")).to_be_visible(timeout=WORK_PATIENCE)
    expect(page.get_by_text(f"{file}:lead")).to_be_visible()
    screenshot(page, f"confirm-{width}")
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0, "what would run is wrapped, not cut off"
    assert not (file.parents[1] / "mark").exists()
    page.get_by_role("button", name="Run it").click()
    expect(page.get_by_text("Training on these raised “lead()”.")).to_be_visible(timeout=WORK_PATIENCE)
    expect(page.get_by_role("button", name="Run it")).to_have_count(0)
    assert (file.parents[1] / "mark").exists()


@pytest.mark.parametrize(("width", "count"), [(1440, 2), (1440, 5), (1440, 6), (1000, 4), (390, 3)])
def test_the_controls_of_compared_cards_cover_nothing(
    page: Page, example: str, width: int, count: int
) -> None:
    methods = ["ekfac", "grad_dot", "grad_cos", "representation", "tracin", "path"][:count]
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"/compare?project=digits&example={example}&methods={','.join(methods)}")
    table = page.get_by_role("table", name="What is known about each method")
    expect(table).to_be_visible(timeout=WORK_PATIENCE)
    expect(table.get_by_role("row").nth(1)).to_contain_text("not measured here")
    title = "Influence function (EK-FAC)"
    expect(cards(page, title)).to_have_count(5)
    for card in cards(page, title).all() + cards(page, "Gradient dot product").all():
        left, _, right, _ = box(card)
        picture = card.get_by_role("img")
        for control in [card.get_by_role("combobox"), *card.get_by_role("button").all()]:
            assert apart(control, picture)
            assert left <= box(control)[0] and box(control)[2] <= right
            assert control.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), "its words are not cut off"
    screenshot(page, f"compare-{width}-{count}")


def test_the_usual_method_is_seen_first(page: Page, example: str) -> None:
    page.goto(f"/investigate?project=digits&example={example}")
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
    page.get_by_role("button", name=re.compile("^Method")).click()
    usual = page.get_by_text("The usual one here")
    expect(usual).to_be_visible()
    assert box(usual)[1] < box(page.get_by_text("Influence functions", exact=True))[1]
    expect(page.locator(".st-key-method-bm25").get_by_role("button")).to_be_disabled()
    expect(page.get_by_text("the examples of this project are not texts")).to_be_visible()
