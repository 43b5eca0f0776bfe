"""Drawings of a report: bars as HTML, curves as SVG. No script; colours come from the page's style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attribution.projects.records import CurvePoint
from dashboard.report.escaping import escape
from dashboard.views.accuracy import percent
from dashboard.views.classes import shown_classes

WIDTH, HEIGHT = 300.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 12.0, 12.0, 36.0
MOST_MARKS = 12
"""Steps up to which each has a mark on the curve."""

MOST_TICKS = 6


def bars(
    before: Mapping[str, float],
    *,
    true: str,
    predicted: str,
    after: Mapping[str, float] | None = None,
    label: str,
) -> str:
    """A bar per class, or two (before and after), the likeliest classes first; the rest in one line."""
    names, rest = shown_classes(before, true=true, predicted=predicted, after=after)
    rows = "".join(
        _class_row(name, before[name], None if after is None else after[name], true, predicted)
        for name in names
    )
    more = f'<p class="muted small">{escape(rest)}</p>' if rest else ""
    legend = (
        '<p class="legend small muted"><span class="swatch faded"></span>before '
        '<span class="swatch"></span>after</p>'
        if after is not None
        else ""
    )
    kind = "bars single" if after is None else "bars"
    return f'<table class="{kind}" aria-label="{escape(label)}">{rows}</table>{legend}{more}'


def _class_row(name: str, before: float, after: float | None, true: str, predicted: str) -> str:
    tone = "helper" if name == true else "culprit" if name == predicted else ""
    mark = "true class" if name == true else "predicted" if name == predicted else ""
    chip = f' <span class="chip {tone}">{mark}</span>' if mark else ""
    values = f"{percent(before)}" if after is None else f"{percent(before)} → <b>{percent(after)}</b>"
    tracks = _track(before, tone, faded=after is not None)
    if after is not None:
        tracks += _track(after, tone, faded=False)
    return (
        f'<tr><th scope="row">{escape(name)}{chip}</th><td class="tracks">{tracks}</td>'
        f'<td class="value">{values}</td></tr>'
    )


def _track(share: float, tone: str, *, faded: bool) -> str:
    return (
        f'<span class="track"><span class="fill {tone}{" faded" if faded else ""}" '
        f'style="width:{100 * min(max(share, 0.0), 1.0):.2f}%"></span></span>'
    )


def curve(points: Sequence[CurvePoint], *, longest: int, label: str) -> str:
    """Probability of the true class (solid, circles) and of the one predicted before (dotted, diamonds) by step.

    Args:
        longest: last step on the axis, so that curves side by side have the same one.
    """
    longest = max(longest, 1)
    grid = "".join(_level(share) for share in (0.0, 0.5, 1.0))
    every = -(-longest // MOST_TICKS)
    ticks = "".join(
        f'<text x="{_x(step, longest):.1f}" y="{HEIGHT - 20}" text-anchor="middle">{step}</text>'
        for step in range(0, longest + 1, every)
    )
    lines = "".join(
        f'<polyline class="{tone}" points="'
        + " ".join(f"{_x(point.step, longest):.1f},{_y(share):.1f}" for point, share in series)
        + '"/>'
        + (
            "".join(_mark(tone, _x(point.step, longest), _y(share)) for point, share in series)
            if marked
            else ""
        )
        for tone, series in (
            ("culprit", [(point, point.predicted_before) for point in points]),
            ("helper", [(point, point.true) for point in points]),
        )
        for marked in (len(points) <= MOST_MARKS + 1,)
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(label)}">'
        f'{grid}{ticks}<text x="{middle:.1f}" y="{HEIGHT - 5}" text-anchor="middle">fine-tuning step</text>'
        f"{lines}</svg>"
    )


def _level(share: float) -> str:
    y = _y(share)
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * share:.0f} %</text>'
    )


def _mark(tone: str, x: float, y: float) -> str:
    if tone == "helper":
        return f'<circle class="{tone}" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>'
    return f'<path class="{tone}" d="M{x:.1f} {y - 4:.1f}l4 4l-4 4l-4 -4z"/>'


def _x(step: int, longest: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / longest


def _y(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)
