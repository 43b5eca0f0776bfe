"""How long the pages of a project with 100,000 test examples take, in Chromium.

    python tests/benchmarks/measure_large.py [--starts 3] [--clicks 8] [--projects DIR] [--json]

The project is that of large_task.py: a fifth of its test examples is mispredicted. The server runs already when a page
is opened; the first opening reads the tables, later ones find them in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2]))

from attribution import Project
from dashboard.new_project import create, from_function
from dashboard.opening import open_prepared
from tests.benchmarks.measure_dashboard import LIBRARY, PATIENCE, in_words, server, summary, until_answering
from tests.chromium import launched

OPENING_TARGET, CLICK_TARGET, LIST_TARGET = 2.0, 0.4, 1.0
NAME = "large"

# More of what LIBRARY measures, with its means.
FURTHER = """
() => {
  const { all, wait, quiet } = window.look
  Object.assign(window.measure, {
    sort: async (position) => {
      await wait(() => quiet() && all("thead th button").length > position)
      const before = all("tbody tr.opens")[0].textContent
      all("thead th button")[position].click()
      return wait(() => all("tbody tr.opens").length > 0 && all("tbody tr.opens")[0].textContent !== before)
    },
    page: async (number) => {
      await wait(() => quiet() && all("[data-testid=stPagination] button").length > 0)
      const before = all("tbody tr.opens")[0].textContent
      all("[data-testid=stPagination] button").find((b) => b.textContent.trim() === String(number)).click()
      return wait(() => all("tbody tr.opens").length > 0 && all("tbody tr.opens")[0].textContent !== before)
    },
    further: async () => {
      await wait(() => quiet() && all(".st-key-next button").length && all(".card.culprits").length === 10)
      const before = all(".belief")[0].textContent
      all(".st-key-next button")[0].click()
      return wait(() => all(".belief").length && all(".belief")[0].textContent !== before
        && all(".card.culprits").length === 10)
    },
    cell: async (position) => {
      await wait(() => quiet() && all("button.cell.wrong").length > position)
      const before = all("tbody tr.opens")[0].textContent
      all("button.cell.wrong")[position].click()
      return wait(() => location.search.includes("true=") && all("tbody tr.opens").length > 0
        && all("tbody tr.opens")[0].textContent !== before)
    },
  })
}
"""


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=3, help="how often the server is started")
    parser.add_argument("--clicks", type=int, default=8, help="repetitions of each interaction")
    parser.add_argument("--projects", type=Path, help="where the project lies, or is made")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of words")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        projects = options.projects or Path(place) / "projects"
        os.environ["TRACEFIX_HOME"] = str(Path(place) / "home")
        made(projects)
        report: dict[str, Any] = {}
        with sync_playwright() as playwright:
            browser = launched(playwright)
            for name, times, target in results(browser, projects, options.starts, options.clicks):
                report[name] = summary(times, target)
                print(name, report[name], file=sys.stderr, flush=True)
            browser.close()
    report["load"] = {"average": os.getloadavg()[0], "cores": os.cpu_count()}
    print(json.dumps(report, indent=2) if options.json else in_words(report))


def made(projects: Path) -> Project:
    """The project, made and prepared where it was not yet."""
    directory = projects / NAME
    if not (directory / "project.json").exists():
        task = Path(__file__).with_name("large_task.py")
        create(directory, from_function(directory, f"{task}:build"))
    return open_prepared(str(directory), projects)


def opened_once(browser: Browser, projects: Path) -> float:
    """Seconds until a server that has just shown the landing page shows the mispredictions."""
    with server(projects) as address:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        until_answering(page, address)
        expect(page.get_by_role("heading", name="Samples")).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_text("looking for a GPU")).to_have_count(0, timeout=PATIENCE)
        seconds = opening(page, address)
        page.close()
    return seconds


def opening(page: Page, address: str) -> float:
    """Seconds from the request for the page until its table and its matrix are there."""
    started = time.perf_counter()
    page.goto(f"{address}/mispredictions?project={NAME}")
    expect(page.locator("tbody tr.opens").first).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("heading", name="Confusion matrix")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("button.cell.wrong").first).to_be_visible(timeout=PATIENCE)
    return time.perf_counter() - started


def results(
    browser: Browser, projects: Path, starts: int, count: int
) -> Iterator[tuple[str, list[float], float]]:
    """What was measured, its times in seconds and the target, one after the other.

    Clicks are timed to the frame that shows their result; the first of each is left out as a warm-up.
    """
    yield "first opening", [opened_once(browser, projects) for _ in range(starts)], OPENING_TARGET
    with server(projects) as address:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        until_answering(page, address)

        def listed() -> None:
            opening(page, address)
            page.evaluate(LIBRARY)
            page.evaluate(FURTHER)

        def measured(action: str, argument: Callable[[int], int]) -> list[float]:
            times = []
            for number in range(count + 1):
                listed()
                times.append(float(page.evaluate(f"n => measure.{action}(n)", argument(number))))
            return times[1:]

        opening(page, address)
        expect(page.get_by_text("Looking for errors of a common cause")).to_have_count(0, timeout=PATIENCE)
        yield "opening again", [opening(page, address) for _ in range(count)], OPENING_TARGET
        yield "sort by confidence", measured("sort", lambda n: 0), CLICK_TARGET
        yield "page 2", measured("page", lambda n: 2), CLICK_TARGET
        yield "matrix cell to filtered rows", measured("cell", lambda n: n % 8), CLICK_TARGET
        yield "search to filtered rows", [searched(page, listed) for _ in range(count)], CLICK_TARGET
        yield "row to culprits and helpers", measured("row", lambda n: n % 30), LIST_TARGET
        further = [float(page.evaluate("() => measure.further()")) for _ in range(count + 1)]
        yield "next misprediction", further[1:], CLICK_TARGET
        page.close()


def searched(page: Page, listed: Callable[[], None]) -> float:
    """Seconds from Enter in the search box until the toolbar says what was found."""
    listed()
    box = page.get_by_placeholder("Search text or id")
    box.fill("ab")
    started = time.perf_counter()
    box.press("Enter")
    expect(page.get_by_text("with “ab”")).to_be_visible(timeout=PATIENCE)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
