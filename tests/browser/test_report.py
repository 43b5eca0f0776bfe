"""The report in a real browser, the network off: it opens, says what the page says, and asks for nothing."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from attribution import Engine
from attribution.projects import FixRecord, Project
from dashboard.report import report_of
from dashboard.report.page import LARGEST
from dashboard.views.accuracy import percent
from dashboard.views.fixes import controls_sentence, steps_sentence
from tests.browser.conftest import Server
from tests.browser.screens import SCREENSHOTS, heading, rows, screenshot

MADE = 120_000.0


@pytest.fixture(scope="module")
def kept(server: Server) -> Iterator[FixRecord]:
    """A kept fix of `digits`, made outside the server."""
    project = Project.open(server.projects / "digits")
    fix = Engine(project, device="cpu").fix(project.mispredictions()[-5]["id"])
    project.history.save(fix)
    yield fix
    project.history.delete(fix.fix_id)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("sample", ["digits", "hostile"])
def test_the_report_opens_offline(
    chromium: Browser, server: Server, tmp_path: Path, sample: str, scheme: str
) -> None:
    project = Project.open(server.projects / sample)
    engine = Engine(project, device="cpu")
    fix = engine.fix(project.mispredictions()[-1]["id"])
    file = tmp_path / "report.html"
    file.write_text(report_of(engine, fix), encoding="utf-8")
    assert file.stat().st_size <= LARGEST
    context = chromium.new_context(viewport={"width": 1200, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    context.set_offline(True)
    page = context.new_page()
    asked: list[str] = []
    failures: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: failures.append(message.text))
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(file.as_uri())
    expect(page.get_by_text(steps_sentence(fix)).first).to_be_visible()
    expect(page.get_by_text(controls_sentence(fix)).first).to_be_visible()
    chances = f"{percent(fix.before.probabilities[fix.true])} → {percent(fix.after.probabilities[fix.true])}"
    expect(page.get_by_text(chances).first).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^This fix"))).to_contain_text(str(len(fix.newly_broken)))
    expect(page.locator("svg.curve")).to_have_count(1 + len(fix.controls))
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    for width in (1200, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"report-{sample}-{scheme}-{width}.png", full_page=True)
    assert page.evaluate("window.harmed") is None
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == [] and failures == []
    context.close()


def test_report_and_export_are_downloaded_from_the_preview(
    page: Page, kept: FixRecord, tmp_path: Path
) -> None:
    page.goto(f"/preview?project=digits&fix={kept.fix_id}")
    expect(heading(page, "Beside its controls")).to_be_visible()
    page.get_by_role("button", name="Report", exact=True).click()
    with page.expect_download() as report:
        page.get_by_role("button", name=re.compile("Download report")).click(timeout=MADE)
    report.value.save_as(tmp_path / "report.html")
    assert steps_sentence(kept) in (tmp_path / "report.html").read_text(encoding="utf-8")
    page.get_by_role("button", name="Export", exact=True).click()
    with page.expect_download() as export:
        page.get_by_role("button", name=re.compile("Download export")).click(timeout=MADE)
    screenshot(page, "preview-downloads")
    export.value.save_as(tmp_path / "export.zip")
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        assert {f"{kept.fix_id}/{name}" for name in ("edits.csv", "model.safetensors", "README.txt")} <= set(
            archive.namelist()
        )


def test_report_is_downloaded_from_the_history(page: Page, kept: FixRecord) -> None:
    page.goto("/history?project=digits")
    row = rows(page, "Kept fixes: activate a row to open it again").first
    row.get_by_role("button", name=re.compile("^Report")).click()
    with page.expect_download() as report:
        page.get_by_role("button", name=re.compile("Download report")).click(timeout=MADE)
    screenshot(page, "history-downloads")
    assert report.value.suggested_filename == f"{kept.fix_id}.html"
