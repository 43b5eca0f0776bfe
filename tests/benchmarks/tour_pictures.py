"""The pictures of the README, taken from the bundled samples as they are now.

    python tests/benchmarks/tour_pictures.py [--projects DIR]

Writes docs/screenshot.png and docs/tour-*.png, each below 300 kB. With a projects folder, samples that are prepared
there are taken from it.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2]))

from attribution import Engine, Project
from attribution.projects.lds_record import read_lds
from attribution.projects.study_records import FADING, FadingRecord, read_study
from attribution.studies.fading import fading_study
from attribution.studies.lds import lds_study
from dashboard.opening import open_prepared
from tests.browser.conftest import start_server
from tests.browser.screens import cards, heading, rows, settled
from tests.chromium import launched

DOCS = Path(__file__).resolve().parents[2] / "docs"
LARGEST = 300_000
WIDTH, HEIGHT = 1440, 900
PATIENCE = 300_000.0


def save(page: Page, name: str) -> None:
    """Store what is on the screen, in as many colours as its size allows."""
    settled(page)
    page.mouse.move(2, HEIGHT - 2)
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    for colours in (256, 128, 64):
        buffer = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
        if buffer.tell() < LARGEST:
            break
    else:
        raise SystemExit(f"{name} takes {buffer.tell():,} bytes even in few colours: show less on it.")
    (DOCS / f"{name}.png").write_bytes(buffer.getvalue())
    print(f"{name}.png: {buffer.tell() / 1000:.0f} kB")


def take(page: Page, digit: str, review: str) -> None:
    """Go through the tour.

    Args:
        digit, review: ids of the mispredictions that it looks at.
    """
    page.goto("/mispredictions?project=fashion")
    expect(rows(page, "Mispredictions: activate a row to investigate it").first).to_be_visible(
        timeout=PATIENCE
    )
    save(page, "tour-mispredictions")
    page.goto(f"/investigate?project=reviews&example={review}")
    expect(cards(page, "Culprits")).to_have_count(10, timeout=PATIENCE)
    expect(page.locator(".mark-word").first).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("The strongest are being scored once more")).to_have_count(0, timeout=PATIENCE)
    save(page, "tour-investigate")
    page.goto(f"/investigate?project=digits&example={digit}")
    expect(cards(page, "Culprits")).to_have_count(10, timeout=PATIENCE)
    page.get_by_role("button", name="Close guide").click()
    expect(page.locator(".tinted").first).to_be_visible(timeout=PATIENCE)
    save(page, "screenshot")
    page.get_by_role("button", name="Suggest & preview").click()
    expect(heading(page, "Beside its controls")).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".js-plotly-plot")).to_be_visible()
    save(page, "tour-preview")
    page.get_by_role("button", name="Story", exact=True).click()
    expect(page.frame_locator("iframe").locator("#step-1")).to_be_visible(timeout=PATIENCE)
    save(page, "tour-story")
    page.goto("/trust?project=digits")
    expect(page.locator(".js-plotly-plot")).to_be_visible(timeout=PATIENCE)
    save(page, "tour-trust")
    page.goto("/mispredictions?project=fashion&show=map&colour=cluster")
    expect(page.locator(".js-plotly-plot")).to_be_visible(timeout=PATIENCE)
    page.locator(".js-plotly-plot").scroll_into_view_if_needed()
    save(page, "tour-map")


def study(project: Project) -> None:
    """Measure what the page Trust shows, where that was not done."""
    engine = Engine(project, device="cpu")
    if read_lds(project.directory, project.prepared_from) is None:
        lds_study(engine)
    if read_study(FADING, FadingRecord, project.directory, project.prepared_from) is None:
        fading_study(engine)


def main() -> None:
    """Prepare the samples where need be, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        projects = options.projects or Path(folder)
        digits, _, reviews = (open_prepared(name, projects) for name in ("digits", "fashion", "reviews"))
        study(digits)
        digit = digits.mispredictions()[9]["id"]  # planted label errors are behind it
        review = reviews.mispredictions()[157]["id"]
        program = "from dashboard.cli import run; run()"
        arguments = ["-c", program, "--port", "PORT", "--no-browser", "--projects", str(projects)]
        process, address = start_server(arguments, Path(folder) / "server.log")
        try:
            with sync_playwright() as playwright:
                browser = launched(playwright)
                context = browser.new_context(
                    base_url=address, viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light"
                )
                take(context.new_page(), digit, review)
                browser.close()
        finally:
            process.terminate()
            process.wait(timeout=60)


if __name__ == "__main__":
    main()
