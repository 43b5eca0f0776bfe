"""Several people at one dashboard: logging in, looking without changing, and a tray of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from attribution.projects import Project
from dashboard.state import PAGES
from tests.browser.conftest import PROGRAM, Server, start_server
from tests.browser.screens import cards, heading, screenshot, settled
from tests.browser.test_accessibility import violations
from tests.browser.test_loop import WORK_PATIENCE
from tests.conftest import copied
from tests.directory_contents import contents
from tests.unit.fix_records import record

SECRETS = """
[auth]
redirect_uri = "http://127.0.0.1:8501/oauth2callback"
cookie_secret = "made for a test, and long enough for it"
client_id = "tracefix"
client_secret = "none"
server_metadata_url = "http://127.0.0.1:9/.well-known/openid-configuration"
"""

ADDRESSES = ["" if page == "projects" else page for page in PAGES]


@dataclass(frozen=True)
class Closed:
    """Two servers over the same project: one that is read-only, one that asks for a login."""

    read_only: str
    login: str
    project: Project


@pytest.fixture(scope="module")
def closed(untouched_digits: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    place = tmp_path_factory.mktemp("team")
    project = copied(untouched_digits, place / "projects")
    fix = record("fix-preview").model_copy(update={"test_id": project.mispredictions()[0]["id"]})
    project.history.save(fix, state="preview")
    project.history.save(fix.model_copy(update={"fix_id": "fix-kept"}))
    (place / ".streamlit").mkdir()
    (place / ".streamlit" / "secrets.toml").write_text(SECRETS)
    arguments = ["-c", PROGRAM, "--port", "PORT", "--no-browser", "--projects", str(place / "projects")]
    started = [
        start_server([*arguments, "--read-only"], place / "read-only.log"),
        start_server(arguments, place / "login.log", cwd=place),
    ]
    yield Closed(started[0][1], started[1][1], project)
    for process, _ in started:
        process.terminate()
    for process, _ in started:
        process.wait(timeout=60)


def test_without_a_login_no_page_can_be_reached(page: Page, closed: Closed) -> None:
    example = closed.project.mispredictions()[0]["id"]
    for name in ADDRESSES:
        page.goto(f"{closed.login}/{name}?project=digits&example={example}&fix=fix-kept")
        expect(page.get_by_role("button", name="Log in")).to_be_visible()
        expect(heading(page, "Tracefix")).to_be_visible()
        assert "digits" not in page.locator("body").inner_text().lower()
        expect(page.get_by_role("link", name="History")).to_have_count(0)
    screenshot(page, "login")
    assert not violations(page)


def test_read_only_changes_nothing_whatever_the_link(page: Page, closed: Closed) -> None:
    before = contents(closed.project.directory.parent)
    example = closed.project.mispredictions()[0]["id"]
    train_id = closed.project.examples("train").index[0]
    tray = f'[["{train_id}","u"]]'
    page.goto(f"{closed.read_only}/investigate?project=digits&example={example}&tray={tray}")
    expect(heading(page, "Culprits")).to_be_visible(timeout=WORK_PATIENCE)
    expect(page.get_by_text("Read-only").first).to_be_visible()
    cards(page, "Helpers").first.get_by_role("button", name="Up-weight").click()
    expect(heading(page, "Fix tray (2)")).to_be_visible()
    button = page.get_by_test_id("stSidebar").get_by_role("button", name="Suggest & preview")
    expect(button).to_be_disabled()
    page.keyboard.press("f")
    settled(page)
    expect(page).to_have_url(re.compile("/investigate"))
    screenshot(page, "read-only-investigate")
    assert not violations(page)

    # A method that would have to be prepared, by a link: refused in one sentence.
    page.goto(f"{closed.read_only}/investigate?project=digits&example={example}&method=source")
    expect(page.get_by_text("this dashboard was started read-only")).to_be_visible(timeout=WORK_PATIENCE)

    page.goto(f"{closed.read_only}/preview?project=digits&fix=fix-preview&job=0123456789")
    expect(page.get_by_text("This preview was lost")).to_be_visible()
    page.goto(f"{closed.read_only}/preview?project=digits&fix=fix-preview")
    expect(page.get_by_text("Not kept")).to_be_visible()
    for name in ("Keep", "Discard", "Verify by retraining", "Export"):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    page.goto(f"{closed.read_only}/history?project=digits")
    expect(page.get_by_role("button", name=re.compile("^Compare"))).to_have_count(1)
    expect(page.get_by_role("button", name=re.compile("^(Delete|Note|Export)"))).to_have_count(0)
    page.goto(f"{closed.read_only}/open")
    expect(page.get_by_text("read-only for you")).to_be_visible()
    expect(page.get_by_role("textbox")).to_have_count(0)
    page.goto(f"{closed.read_only}/investigate?project=fashion&example=0")
    expect(page.get_by_text(re.compile("not a project|cannot be opened|There is no"))).to_be_visible()
    assert contents(closed.project.directory.parent) == before


def test_everybody_has_a_tray_of_their_own_and_the_history_is_shared(
    chromium: Browser, context: BrowserContext, server: Server
) -> None:
    project = Project.open(server.projects / "digits")
    example = project.mispredictions()[2]["id"]
    second = chromium.new_context(base_url=server.address, viewport={"width": 1440, "height": 900})
    try:
        ann, bob = context.new_page(), second.new_page()
        for person in (ann, bob):
            person.goto(f"/investigate?project=digits&example={example}")
            expect(heading(person, "Helpers")).to_be_visible(timeout=WORK_PATIENCE)
        cards(ann, "Helpers").first.get_by_role("button", name="Up-weight").click()
        expect(heading(ann, "Fix tray (1)")).to_be_visible()
        bob.reload()
        expect(heading(bob, "Helpers")).to_be_visible(timeout=WORK_PATIENCE)
        expect(heading(bob, "Fix tray (0)")).to_be_visible()
        expect(bob.get_by_role("button", name="Undo")).to_be_disabled()
        project.history.save(record("fix-shared").model_copy(update={"test_id": example}))
        for person in (ann, bob):
            person.goto("/history?project=digits")
            expect(person.locator("a[href*='fix-shared']")).to_be_visible()
    finally:
        project.history.delete("fix-shared")
        second.close()
