"""How long a person waits: process start to first page, and click to update on prepared `digits`, in Chromium.

    python tests/benchmarks/measure_dashboard.py [--starts 5] [--clicks 20] [--sample fashion] [--json]

Clicks are timed inside the page, from the event to the animation frame that shows the result. Each figure is the
median with minimum and maximum; the machine's load at the time is printed with it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

sys.path.insert(0, str(Path(__file__).parents[2]))

from dashboard.opening import open_prepared
from tests.chromium import launched

FIRST_PAGE_TARGET = 6.0
CLICK_TARGET = 0.4
LIST_TARGET = 1.0
PATIENCE = 60_000.0

# What Chromium says while nothing listens; the second where its own error page gets in the way of the next try.
NOT_YET = ("ERR_CONNECTION_REFUSED", "chrome-error://")

# Finds elements behind the shadow roots of components; `wait` resolves at the first frame that satisfies a condition.
LIBRARY = """
() => {
  const roots = () => [document, ...[...document.querySelectorAll("*")].map((e) => e.shadowRoot).filter(Boolean)]
  const all = (selector) => roots().flatMap((root) => [...root.querySelectorAll(selector)])
  const wait = (holds) => new Promise((resolve, reject) => {
    const started = performance.now()
    const look = () => {
      if (holds()) requestAnimationFrame(() => resolve((performance.now() - started) / 1000))
      else if (performance.now() - started > 60000) reject(new Error("nothing happened within 60 s"))
      else requestAnimationFrame(look)
    }
    look()
  })
  const quiet = () => !document.querySelector("[data-testid=stStatusWidget]")
  window.look = { all, wait, quiet }
  window.measure = {
    row: async (position) => {
      await wait(() => quiet() && all("tbody tr.opens").length > position)
      const row = all("tbody tr.opens")[position]
      const id = row.querySelector("a").getAttribute("aria-label").split(" ")[1].replace(":", "")
      row.click()
      return wait(() => location.search.includes(`example=${id}`) && all(".card.culprits").length === 10
        && all(".belief img").every((image) => image.alt.startsWith(`example ${id},`)))
    },
    next: async () => {
      await wait(() => quiet() && all(".st-key-next button").length && all(".belief img").length
        && all(".card.culprits").length === 10)
      const before = all(".belief img")[0].alt
      all(".st-key-next button")[0].click()
      return wait(() => all(".belief img").length && all(".belief img")[0].alt !== before
        && all(".card.culprits").length === 10 && all(".belief h3")[0].textContent.startsWith("Predicted"))
    },
    choose: async (position) => {
      await wait(() => quiet() && all(".card.helpers button[aria-label^=Up-weight]").length > position)
      const before = all("h3").find((h) => h.textContent.startsWith("Fix tray")).textContent
      all(".card.helpers button[aria-label^=Up-weight]")[position].click()
      return wait(() => all("h3").find((h) => h.textContent.startsWith("Fix tray"))?.textContent !== before)
    },
    filter: async (position) => {
      await wait(() => quiet() && all("button.cell.wrong").length > position)
      const before = all("tbody tr.opens").length
      all("button.cell.wrong")[position].click()
      return wait(() => all("tbody tr.opens").length !== before && all("tbody tr.opens").length > 0)
    },
  }
}
"""


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=5, help="how often the server is started")
    parser.add_argument("--clicks", type=int, default=20, help="repetitions of each interaction")
    parser.add_argument("--sample", default="digits", help="the one that is clicked through")
    parser.add_argument(
        "--lists", nargs="*", default=[], metavar="PROJECT", help="more samples whose lists are timed"
    )
    parser.add_argument("--projects", type=Path, help="where samples lie that are prepared already")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of words")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        projects = options.projects or Path(place) / "projects"
        os.environ["TRACEFIX_HOME"] = str(Path(place) / "home")
        for sample in ("digits", options.sample, *options.lists):
            open_prepared(sample, projects)
        with sync_playwright() as playwright:
            browser = launched(playwright)
            results = {"first page": first_page(browser, projects, options.starts)}
            results |= clicks(browser, projects, options.sample, options.clicks)
            for sample in options.lists:
                results |= {
                    f"row to list, {sample}": (lists(browser, projects, sample, options.clicks), LIST_TARGET)
                }
            browser.close()
    report = {name: summary(times, target) for name, (times, target) in results.items()}
    report["load"] = {"average": os.getloadavg()[0], "cores": os.cpu_count()}
    print(json.dumps(report, indent=2) if options.json else in_words(report))


def first_page(browser: Browser, projects: Path, starts: int) -> tuple[list[float], float]:
    """Seconds from the start of the process until the landing page shows its samples."""
    times = []
    for _ in range(starts):
        page = browser.new_page()
        started = time.perf_counter()
        with server(projects) as address:
            until_answering(page, address)
            expect(page.get_by_role("heading", name="Samples")).to_be_visible(timeout=PATIENCE)
            expect(page.locator(".st-key-open-digits")).to_be_visible(timeout=PATIENCE)
            times.append(time.perf_counter() - started)
            page.close()
    return times, FIRST_PAGE_TARGET


def clicks(browser: Browser, projects: Path, sample: str, count: int) -> dict[str, tuple[list[float], float]]:
    """Seconds from a click to the frame that shows its result; the first of each is left out as a warm-up."""
    with server(projects) as address:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        until_answering(page, address)

        def mispredictions() -> None:
            page.goto(f"{address}/mispredictions?project={sample}")
            expect(page.get_by_role("heading", name="Confusion matrix")).to_be_visible(timeout=PATIENCE)
            expect(page.locator("tbody tr.opens").first).to_be_visible(timeout=PATIENCE)
            page.evaluate(LIBRARY)

        def measured(
            action: str, argument: Callable[[int], int | None], again: Callable[[], None] | None
        ) -> list[float]:
            times = []
            for number in range(count + 1):
                if again is not None or number == 0:
                    (again or (lambda: None))()
                times.append(float(page.evaluate(f"n => measure.{action}(n)", argument(number))))
            return times[1:]

        mispredictions()
        page.evaluate("() => measure.row(0)")
        expect(page.get_by_role("heading", name="Culprits")).to_be_visible(timeout=PATIENCE)
        results: dict[str, tuple[list[float], float]] = {}
        results["row to culprits and helpers"] = (
            measured("row", lambda n: n % 30, mispredictions),
            LIST_TARGET,
        )
        results["matrix cell to filtered rows"] = (
            measured("filter", lambda n: n % 8, mispredictions),
            CLICK_TARGET,
        )
        mispredictions()
        page.evaluate("() => measure.row(0)")
        results["next misprediction"] = (measured("next", lambda n: None, None), CLICK_TARGET)
        results["card to fix tray"] = (measured("choose", lambda n: n % 10, None), CLICK_TARGET)
        page.close()
        return results


def lists(browser: Browser, projects: Path, sample: str, count: int) -> list[float]:
    """Seconds from a click on a misprediction to its first list, each of another example; the first is left out."""
    with server(projects) as address:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        until_answering(page, address)
        times = []
        for number in range(count + 1):
            page.goto(f"{address}/mispredictions?project={sample}")
            expect(page.locator("tbody tr.opens").first).to_be_visible(timeout=PATIENCE)
            page.evaluate(LIBRARY)
            times.append(float(page.evaluate("n => measure.row(n)", number)))
            # The exact scores of one list must not stand in the way of the next one.
            expect(page.get_by_text("scored once more, exactly")).to_have_count(0, timeout=PATIENCE)
        page.close()
        return times[1:]


@contextmanager
def server(projects: Path) -> Iterator[str]:
    """The dashboard in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = "from dashboard.cli import run; run()"
    arguments = ["--port", str(port), "--no-browser", "--projects", str(projects)]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def until_answering(page: Page, address: str) -> None:
    """Open the landing page as soon as the server takes connections."""
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline:
        try:
            page.goto(address, timeout=PATIENCE)
            return
        except PlaywrightError as error:
            if not any(sign in error.message for sign in NOT_YET):
                raise
            time.sleep(0.05)
    raise RuntimeError("the server did not start")


def summary(times: list[float], target: float) -> dict[str, Any]:
    """Median, minimum and maximum in seconds, with the target of the median."""
    return {
        "median": round(statistics.median(times), 3),
        "min": round(min(times), 3),
        "max": round(max(times), 3),
        "repetitions": len(times),
        "target": target,
        "met": statistics.median(times) <= target,
    }


def in_words(report: dict[str, dict[str, Any]]) -> str:
    """The report as lines for a terminal."""
    load = report["load"]
    lines = [
        f"{name:32} median {value['median']:.3f} s   min {value['min']:.3f}   max {value['max']:.3f}   "
        f"({value['repetitions']} x, target {value['target']} s: {'met' if value['met'] else 'MISSED'})"
        for name, value in report.items()
        if name != "load"
    ]
    return "\n".join([*lines, f"load average {load['average']:.1f} on {load['cores']} cores"])


if __name__ == "__main__":
    main()
