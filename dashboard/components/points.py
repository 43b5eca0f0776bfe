"""What a plotly figure of points lacks on a page: the picture under the pointer, and clicks.

Plotly's own labels hold words only, and Streamlit passes clicks on only while the pointer does not draw boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dashboard.components.mounting import register, triggered

_mount = register("points")


def points(
    key: str,
    chart: str,
    pictures: Mapping[str, str],
    *,
    on_click: Callable[[str], None],
    on_no_webgl: Callable[[], None],
) -> None:
    """Attend to the points of a chart.

    Args:
        chart: key of the container that the figure is in.
        pictures: data URIs by the id that a point carries; points without one show none.
        on_click: called with the id of a point that was clicked.
        on_no_webgl: called where the browser cannot draw with WebGL, which large figures would use.
    """

    def clicked() -> None:
        point = triggered(key, "open")
        if point is not None:
            on_click(str(point))

    _mount(
        key=key,
        data={"chart": chart, "pictures": dict(pictures)},
        on_open_change=clicked,
        on_webgl_change=on_no_webgl,
    )
