"""Single interactions that only a real browser has: rows, filters, cards, keys, links, refreshes, looks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from attribution.projects import Project
from tests.browser.conftest import Server
from tests.browser.screens import cards, heading, rows, screenshot
from tests.browser.test_loop import HISTORY, MISPREDICTIONS, WORK_PATIENCE


@pytest.fixture
def digits(server: Server) -> Project:
    return Project.open(server.projects / "digits")


def investigate(page: Page, example_id: str, more: str = "") -> None:
    """Open an example by its link and wait for its explanation."""
    page.goto(f"/investigate?project=digits&example={example_id}{more}")
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)


def test_a_row_opens_the_right_example_after_filter_and_sort(page: Page, digits: Project) -> None:
    """A position would mean another example after the filter; the id must not."""
    expected = digits.mispredictions()
    pairs = [(example["true"], example["predicted"]) for example in expected]
    true, predicted = max(set(pairs), key=pairs.count)
    within = [e for e, pair in zip(expected, pairs, strict=True) if pair == (true, predicted)]
    within.sort(key=lambda example: example["confidence"])
    page.goto("/mispredictions?project=digits")
    expect(rows(page, MISPREDICTIONS)).to_have_count(len(expected))
    page.get_by_role("button", name=f"true {true}, predicted {predicted}: {len(within)}", exact=True).click()
    expect(rows(page, MISPREDICTIONS)).to_have_count(len(within))
    page.get_by_role("button", name="Confidence").click()
    expect(page).to_have_url(re.compile("sort=confidence"))
    page.get_by_role("button", name="Confidence").click()
    expect(page).to_have_url(re.compile("order=up"))
    expect(rows(page, MISPREDICTIONS).first.get_by_role("link")).to_have_attribute(
        "aria-label", re.compile(f"^Investigate {within[0]['id']}:")
    )
    screenshot(page, "digits-filtered")
    rows(page, MISPREDICTIONS).first.get_by_role("cell").nth(2).click()
    expect(page).to_have_url(re.compile(f"example={within[0]['id']}"))
    expect(heading(page, f"Predicted {predicted}, true {true}")).to_be_visible()
    expect(page.get_by_text(f"of {len(within)} in the filter")).to_be_visible()


def test_rows_are_links_for_the_keyboard_and_a_second_tab(
    page: Page, context: BrowserContext, digits: Project
) -> None:
    page.goto("/mispredictions?project=digits")
    link = rows(page, MISPREDICTIONS).first.get_by_role("link")
    with context.expect_page() as opened:
        link.click(modifiers=["ControlOrMeta"])
    expect(heading(opened.value, "Investigate")).to_be_visible()
    expect(heading(page, "Mispredictions")).to_be_visible()
    link.focus()
    page.keyboard.press("Enter")
    expect(heading(page, "Investigate")).to_be_visible()


def test_choose_cards_change_undo_redo(page: Page, digits: Project) -> None:
    investigate(page, digits.mispredictions()[0]["id"])
    helper = cards(page, "Helpers").first
    helper.get_by_role("button", name="Up-weight").click()
    expect(heading(page, "Fix tray (1)")).to_be_visible()
    expect(helper.get_by_role("button", name="Up-weight")).to_have_attribute("aria-pressed", "true")
    culprit = cards(page, "Culprits").first
    choice = culprit.get_by_role("combobox")
    wanted = choice.get_by_role("option").nth(3).inner_text()
    choice.select_option(wanted)
    expect(heading(page, "Fix tray (2)")).to_be_visible()
    tray = page.get_by_role("list", name="Chosen training examples")
    expect(tray.get_by_role("combobox")).to_have_value(wanted)
    screenshot(page, "digits-tray")
    page.reload()
    expect(heading(page, "Fix tray (2)")).to_be_visible()
    tray.get_by_role("button", name=re.compile("Remove .* from selection")).first.click()
    expect(heading(page, "Fix tray (1)")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(heading(page, "Fix tray (2)")).to_be_visible()
    page.get_by_role("button", name="Redo").click()
    expect(heading(page, "Fix tray (1)")).to_be_visible()
    heading(page, "Investigate").click()
    page.keyboard.press("u")
    expect(heading(page, "Fix tray (2)")).to_be_visible()


def test_keys_go_to_the_next_and_previous_misprediction(page: Page, digits: Project) -> None:
    expected = digits.mispredictions()
    investigate(page, expected[0]["id"])
    page.keyboard.press("n")
    expect(page).to_have_url(re.compile(f"example={expected[1]['id']}"))
    expect(page.get_by_text(f"2 of {len(expected)}")).to_be_visible()
    page.keyboard.press("p")
    expect(page).to_have_url(re.compile(f"example={expected[0]['id']}"))


def test_methods_that_cannot_run_are_greyed_with_the_reason(page: Page, server: Server) -> None:
    page.goto("/investigate?project=hostile&example=0")
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
    page.get_by_role("button", name=re.compile("^Method")).click()
    greyed = page.locator(".st-key-method-tracin").get_by_role("button")
    expect(greyed).to_be_disabled()
    page.locator(".st-key-method-grad_cos").get_by_role("button").click()
    expect(page).to_have_url(re.compile("method=grad_cos"))


def test_previews_come_one_after_the_other(page: Page, digits: Project) -> None:
    """A page that waits for a job is left, drawn anew and left again, at moments that nobody chose."""
    for number, wrong in enumerate(digits.mispredictions()[:8]):
        investigate(page, wrong["id"], "&method=ekfac")
        page.wait_for_timeout(60 * number)
        page.get_by_role("button", name="Suggest & preview").click()
        expect(heading(page, "Beside its controls")).to_be_visible(timeout=WORK_PATIENCE)


def test_hostile_words_are_shown_and_never_run(page: Page, server: Server) -> None:
    page.goto("/mispredictions?project=hostile")
    expect(rows(page, MISPREDICTIONS)).to_have_count(6)
    expect(rows(page, MISPREDICTIONS).first).to_contain_text(
        "<script>window.harmed=1</script> **bold** :red[red]"
    )
    expect(
        page.get_by_text("Project Words <script>window.harmed=1</script> *that* :red[try]")
    ).to_be_visible()
    screenshot(page, "text-mispredictions")
    rows(page, MISPREDICTIONS).first.click()
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
    expect(cards(page, "Culprits").first).to_contain_text('<img src=x onerror="window.harmed=1">')
    verdict = page.get_by_role("heading").filter(has_text="Predicted ")
    expect(verdict).to_contain_text("<b>good</b>")
    expect(verdict).to_contain_text("*bad* :material/bolt:")
    cards(page, "Helpers").first.get_by_role("button", name="Up-weight").click()
    expect(heading(page, "Fix tray (1)")).to_be_visible()
    screenshot(page, "text-investigate")
    page.get_by_role("button", name="Suggest & preview").click()
    expect(heading(page, "Beside its controls")).to_be_visible(timeout=WORK_PATIENCE)
    screenshot(page, "text-preview")
    assert page.evaluate("window.harmed") is None
    for container in ("stMain", "stSidebar"):
        expect(page.get_by_test_id(container).locator("img[src=x]")).to_have_count(0)


def test_notes_and_delete_with_undo(page: Page, digits: Project) -> None:
    investigate(page, digits.mispredictions()[2]["id"])
    page.get_by_role("textbox", name="Note").fill("first <b>idea</b>")
    page.get_by_role("textbox", name="Note").press("Enter")
    page.get_by_role("button", name="Suggest & preview").click()
    page.get_by_role("button", name="Keep").click(timeout=WORK_PATIENCE)
    expect(page.get_by_role("button", name="Keep")).to_have_count(0)
    page.goto("/history?project=digits")
    row = rows(page, HISTORY).first
    expect(row).to_contain_text("first <b>idea</b>")
    row.get_by_role("button", name="Note").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Note").fill("better *idea*")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    expect(rows(page, HISTORY).first).to_contain_text("better *idea*")
    before = rows(page, HISTORY).count()
    rows(page, HISTORY).first.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("The fix was deleted")).to_be_visible()
    expect(rows(page, HISTORY)).to_have_count(before - 1)
    page.get_by_role("button", name="Undo").click()
    expect(rows(page, HISTORY)).to_have_count(before)
    expect(page.get_by_text("The fix was deleted")).to_have_count(0)


def test_back_and_forward_follow_the_loop(page: Page, digits: Project) -> None:
    page.goto("/mispredictions?project=digits")
    rows(page, MISPREDICTIONS).first.click()
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
    page.go_back()
    expect(rows(page, MISPREDICTIONS).first).to_be_visible()
    page.get_by_test_id("stHeader").get_by_role("link", name="Investigate").click()
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)


@pytest.mark.parametrize(
    ("width", "height", "scheme", "name"), [(1440, 900, "dark", "dark"), (390, 844, "light", "phone")]
)
def test_dark_and_narrow(
    context: BrowserContext, digits: Project, width: int, height: int, scheme: str, name: str
) -> None:
    tab = context.new_page()
    tab.set_viewport_size({"width": width, "height": height})
    tab.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for where, seen in (
        ("/", "Samples"),
        ("/mispredictions?project=digits", "Mispredictions"),
        (f"/investigate?project=digits&example={digits.mispredictions()[1]['id']}", "Culprits"),
    ):
        tab.goto(where)
        expect(heading(tab, seen)).to_be_visible(timeout=WORK_PATIENCE)
        screenshot(tab, f"{name}-{seen.lower()}")
        overflow = tab.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0, f"{where} is {overflow} px wider than the screen"
        expect(tab.get_by_test_id("stException")).to_have_count(0)


def test_unknown_things_get_a_message(page: Page) -> None:
    for where, words in (
        ("/mispredictions?project=nobody", "There is no project or sample 'nobody'"),
        ("/investigate?project=digits&example=nobody", "There is no test example 'nobody'"),
        ("/preview?project=digits&fix=nobody", "There is no fix 'nobody'"),
        ("/preview?project=digits&job=nobody&example=digit-0746", "This preview was lost"),
    ):
        page.goto(where)
        expect(page.get_by_role("alert")).to_contain_text(words)
    screenshot(page, "message")


def test_screens_are_saved(page: Page) -> None:
    """The folder is for people; git must not get it."""
    page.goto("/")
    expect(heading(page, "Samples")).to_be_visible()
    screenshot(page, "projects")
    assert (Path(__file__).parents[1] / "screenshots" / "projects.png").stat().st_size > 10_000
