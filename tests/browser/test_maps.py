"""Maps in a real browser: what is clicked is opened, what is drawn around is ticked or listed, by id."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, expect

from dashboard.state import unlisted
from tests.browser.screens import heading, settled

MAKING = 90_000
"""Milliseconds that a map may take to be made on a busy machine, the import of torch included."""

POINTS = """
() => {
  const figure = document.querySelector(".js-plotly-plot")
  const { xaxis, yaxis } = figure._fullLayout
  const frame = figure.getBoundingClientRect()
  const points = figure.calcdata.flatMap((trace) => {
    const { customdata, name, x, y } = trace[0].trace
    return Array.from(customdata ?? [], (id, number) => ({
      id, name,
      x: frame.left + xaxis._offset + xaxis.l2p(x[number]), y: frame.top + yaxis._offset + yaxis.l2p(y[number]),
    }))
  })
  const drag = figure.querySelector(".nsewdrag").getBoundingClientRect()
  return { points, drag: { x: drag.left, y: drag.top, width: drag.width, height: drag.height } }
}
"""
"""Where each point is on the screen, with the id it carries and the trace it belongs to."""


def drawn(page: Page) -> dict[str, Any]:
    """The points of the figure, once it stands still."""
    expect(page.locator(".js-plotly-plot .nsewdrag").first).to_be_attached(timeout=MAKING)
    page.set_viewport_size({"width": 1440, "height": 1300})  # all of it in view, for the mouse
    settled(page)
    found: dict[str, Any] = page.evaluate(POINTS)
    return found


def parameters(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def errors_of(figure: dict[str, Any]) -> list[dict[str, Any]]:
    return [point for point in figure["points"] if point["name"] != "predicted right"]


def drag(page: Page, corners: list[tuple[float, float]]) -> None:
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=8)
    page.mouse.up()


def test_a_box_ticks_what_is_in_it_whatever_the_filter(page: Page) -> None:
    page.goto("/mispredictions?project=digits&show=map&true=8")
    figure = drawn(page)
    errors = sorted(errors_of(figure), key=lambda point: point["x"])
    assert len(errors) == 8
    edge = (errors[3]["x"] + errors[4]["x"]) / 2
    area = figure["drag"]
    drag(
        page,
        [(area["x"] + 2, area["y"] + 2), (edge, area["y"] + area["height"] - 2)],
    )
    expect(page.get_by_role("button", name="Fix these 4 together")).to_be_visible()
    inside = {point["id"] for point in errors[:4]}
    assert set(unlisted(parameters(page)["ticked"])) == inside
    # The same in the table, and after the filter has changed: ids, not places.
    page.get_by_role("button", name="Clear filter").click()
    expect(page.get_by_text("All 39")).to_be_visible()
    page.get_by_role("radio", name="Table").click()
    for one in inside:
        expect(page.get_by_role("checkbox", name=f"Choose {one}")).to_be_checked()
    assert set(unlisted(parameters(page)["ticked"])) == inside


def test_a_lasso_ticks_what_is_in_it(page: Page) -> None:
    page.goto("/mispredictions?project=digits&show=map&space=gradient")
    figure = drawn(page)
    page.locator(".js-plotly-plot").hover()
    page.locator('.modebar-btn[data-title="Lasso Select"]').click()
    area = figure["drag"]
    bottom = sorted(errors_of(figure), key=lambda point: point["y"])
    edge = (bottom[4]["y"] + bottom[5]["y"]) / 2
    left, right, top = area["x"] + 3, area["x"] + area["width"] - 3, area["y"] + 3
    drag(page, [(left, top), (right, top), (right, edge), (left, edge), (left, top)])
    expect(page.get_by_role("button", name="Fix these 5 together")).to_be_visible()
    assert set(unlisted(parameters(page)["ticked"])) == {point["id"] for point in bottom[:5]}


def test_a_click_opens_the_example_under_it(page: Page) -> None:
    page.goto("/mispredictions?project=digits&show=map&predicted=8")
    figure = drawn(page)
    errors = errors_of(figure)
    far = max(
        errors, key=lambda one: min(_apart(one, other) for other in figure["points"] if other is not one)
    )
    page.mouse.move(far["x"], far["y"])
    expect(page.locator(f'img.hovered[data-example="{far["id"]}"]')).to_be_visible()
    page.mouse.click(far["x"], far["y"])
    expect(heading(page, "Investigate")).to_be_visible()
    expect(page).to_have_url(re.compile(f"example={far['id']}"))
    assert parameters(page)["predicted"] == "8", "within the filter"


def test_training_examples_that_are_drawn_around_go_into_the_tray(page: Page) -> None:
    page.goto("/mispredictions?project=digits")
    page.get_by_role("link", name=re.compile("^Investigate digit-")).first.click()
    expect(heading(page, "Culprits")).to_be_visible()
    page.get_by_role("radio", name="Map").click()
    figure = drawn(page)
    helpers = [point for point in figure["points"] if point["name"] == "helpers"]
    assert len(helpers) == 10 == len([p for p in figure["points"] if p["name"] == "culprits"])
    one = max(helpers, key=lambda h: min(_apart(h, o) for o in figure["points"] if o is not h))
    around = 1 + min(_apart(one, other) for other in figure["points"] if other is not one) / 2
    half = max(around / 1.5, 3)
    inside = {
        p["id"] for p in figure["points"] if abs(p["x"] - one["x"]) <= half and abs(p["y"] - one["y"]) <= half
    }
    drag(page, [(one["x"] - half, one["y"] - half), (one["x"] + half, one["y"] + half)])
    expect(page.get_by_text(f"{len(inside)} training examples selected")).to_be_visible()
    page.get_by_role("button", name=f"Up-weight: training example {one['id']}").click()
    expect(page.get_by_role("heading", name="Fix tray (1)")).to_be_visible()
    assert f'["{one["id"]}","u"]' in parameters(page)["tray"]
    page.reload()
    expect(page.get_by_role("heading", name="Fix tray (1)")).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_be_visible()


def _apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    return float(((one["x"] - other["x"]) ** 2 + (one["y"] - other["y"]) ** 2) ** 0.5)
