"""Verifying a fix in a real browser: it runs beside everything else, can be cancelled, and says what came out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from attribution import Engine
from attribution.projects import FixRecord, Project
from dashboard.views.verification import verdict
from tests.browser.conftest import Server

TRAINED = 180_000.0


@pytest.fixture(scope="module")
def kept(server: Server) -> Iterator[FixRecord]:
    """A kept fix of `digits`, made outside the server."""
    project = Project.open(server.projects / "digits")
    fix = Engine(project, device="cpu").fix(project.mispredictions()[-3]["id"], top=5, controls=False)
    project.history.save(fix)
    yield fix
    project.history.delete(fix.fix_id)


def test_a_verification_is_cancelled_survives_a_reload_and_gives_its_verdict(
    page: Page, server: Server, kept: FixRecord
) -> None:
    history = Project.open(server.projects / "digits").history
    page.goto(f"/preview?project=digits&fix={kept.fix_id}")
    page.get_by_role("button", name="Verify by retraining").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled: nothing was changed.")).to_be_visible()
    assert history.verification(kept.fix_id) is None
    page.get_by_role("button", name="Verify by retraining").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Verify again")).to_be_enabled(timeout=TRAINED)
    record = history.verification(kept.fix_id)
    assert record is not None
    expect(page.get_by_text(verdict(record))).to_be_visible()
    expect(page.locator(".st-key-verification .js-plotly-plot")).to_be_visible()
