"""axe-core on every screen, in both themes: no serious and no critical violation."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from attribution.projects import Project
from tests.browser.conftest import Server
from tests.browser.screens import heading, rows, settled
from tests.browser.test_loop import HISTORY, MISPREDICTIONS, WORK_PATIENCE
from tests.written_studies import write_studies

IMPACTS = ("serious", "critical")

FADE = 1500
"""Milliseconds, longer than any transition of the pages."""

EXCLUDED: dict[str, tuple[str, ...]] = {}
"""Selectors of elements that Streamlit makes and nothing here can mend, by rule; each with its reason."""


@pytest.fixture(scope="module")
def screens(server: Server, chromium: Browser) -> Iterator[tuple[Page, dict[str, str]]]:
    """A tab, and the address of each screen by name; the fixes that they show were made by the engine."""
    from attribution import Engine

    project = Project.open(server.projects / "digits")
    wrong = project.mispredictions()
    engine = Engine(project, device="cpu")
    made = [
        engine.fix(example["id"], strategy="helpers", top=5, steps=10, controls=number == 0)
        for number, example in enumerate(wrong[:2])
    ]
    for fix in made:
        project.history.save(fix)
    write_studies(project)
    first, second = made
    together = ",".join(example["id"] for example in wrong[:3])
    tray = f'[["{first.train_ids[0]}","u"],["{second.train_ids[0]}","r","{project.class_names[0]}"]]'
    example = wrong[0]["id"]
    links = {
        "projects": "/",
        "open": "/open",
        "mispredictions": "/mispredictions?project=digits",
        "investigate": f"/investigate?project=digits&example={example}&tray={tray}",
        "group": f"/group?project=digits&examples={together}",
        "compare": f"/compare?project=digits&example={example}&methods=grad_dot,representation",
        "preview": f"/preview?project=digits&fix={first.fix_id}",
        "story": f"/preview?project=digits&fix={first.fix_id}&view=story",
        "history": "/history?project=digits",
        "trust": "/trust?project=digits",
        "compare_fixes": f"/compare_fixes?project=digits&fixes={first.fix_id},{second.fix_id}",
        "texts": "/mispredictions?project=hostile",
        "error map": "/mispredictions?project=digits&show=map&colour=cluster",
        "training map": f"/investigate?project=digits&example={example}&show=map",
        "pinned": f"/investigate?project=digits&example={example}&pins={first.train_ids[0]},{second.train_ids[0]}",
        "note": "/history?project=digits",
    }
    context = chromium.new_context(base_url=server.address, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    yield page, links
    context.close()
    for fix in made:
        project.history.delete(fix.fix_id)
    shutil.rmtree(project.directory / "studies")


def drawn(page: Page, name: str) -> None:
    """Wait until a screen shows what it is about."""
    awaited = {
        "projects": heading(page, "Samples"),
        "open": page.get_by_text("What do you have?"),
        "mispredictions": rows(page, MISPREDICTIONS).first,
        "investigate": heading(page, "Culprits"),
        "group": heading(page, "Common culprits"),
        "compare": heading(page, "The first 5 culprits of each"),
        "preview": page.locator(".js-plotly-plot").first,
        "story": page.frame_locator("iframe").get_by_role("heading").first,
        "history": rows(page, HISTORY).first,
        "trust": page.locator(".js-plotly-plot").first,
        "compare_fixes": heading(page, "Predictions that changed"),
        "texts": rows(page, MISPREDICTIONS).first,
        "error map": page.locator(".js-plotly-plot").first,
        "training map": page.locator(".js-plotly-plot").first,
        "pinned": page.locator(".st-key-pinned-examples"),
        "note": rows(page, HISTORY).first,
    }
    expect(awaited[name]).to_be_visible(timeout=WORK_PATIENCE)
    settled(page)
    # What is folded away is part of a screen, too.
    if name == "investigate":
        page.get_by_test_id("stExpander").get_by_text("Recipe").click()
        page.get_by_role("button", name=re.compile("^.*Measurement:")).click()
        expect(page.get_by_test_id("stPopoverBody")).to_be_visible()
    if name == "pinned":
        page.get_by_role("button", name="Filter", exact=True).click()
        expect(page.get_by_test_id("stPopoverBody")).to_be_visible()
    if name == "note":
        page.get_by_role("button", name=re.compile("^Note:")).first.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        settled(page)


def violations(page: Page) -> list[str]:
    """What axe finds, a line for each element: impact, rule, selector, and what is wrong."""
    found: dict[str, Any] = Axe().run(page).response
    lines = []
    for violation in found["violations"]:
        if violation["impact"] not in IMPACTS:
            continue
        for node in violation["nodes"]:
            selector = " ".join(str(part) for part in node["target"])
            if any(re.search(pattern, selector) for pattern in EXCLUDED.get(violation["id"], ())):
                continue
            wrong = " ".join(check["message"] for check in [*node["any"], *node["all"], *node["none"]])
            lines.append(
                f"{violation['impact']} {violation['id']}: {selector}: {wrong[:300]} {node['html'][:160]}"
            )
    return lines


def lasting_violations(page: Page) -> list[str]:
    """What axe finds once colours no longer fade: on a busy machine a theme takes a moment to come."""
    if not violations(page):
        return []
    page.wait_for_timeout(FADE)
    settled(page)
    return violations(page)


def test_no_screen_shuts_anybody_out(screens: tuple[Page, dict[str, str]]) -> None:
    page, links = screens
    found = []
    for name, link in links.items():
        page.emulate_media(color_scheme="light")
        page.goto(link)
        drawn(page, name)
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            expect(page.locator(".stApp")).to_have_css("color-scheme", theme)
            settled(page)
            found += [f"{name}, {theme}: {line}" for line in lasting_violations(page)]
        if name == "story":
            # The page in the frame, where no script may run, by itself: it is what is mailed as a report.
            story = page.locator("iframe").get_attribute("srcdoc")
            assert story is not None
            page.set_content(story)
            for theme in ("light", "dark"):
                page.emulate_media(color_scheme=theme)
                found += [f"report, {theme}: {line}" for line in violations(page)]
    assert not found, "\n".join(found)
