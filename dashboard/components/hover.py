"""The picture of the point under the pointer, beside a plotly figure, whose own labels hold words only."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dashboard.components.mounting import register

_mount = register("hover")


def hover_pictures(
    key: str, chart: str, pictures: Mapping[str, str], *, on_no_webgl: Callable[[], None]
) -> None:
    """Show pictures at the points of a chart.

    Args:
        chart: key of the figure.
        pictures: data URIs by the id that a point carries; points without one show none.
        on_no_webgl: called where the browser cannot draw with WebGL, which large figures would use.
    """
    _mount(key=key, data={"chart": chart, "pictures": dict(pictures)}, on_webgl_change=on_no_webgl)
