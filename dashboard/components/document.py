"""A whole HTML page of ours inside a page, as high as its content, in which no script can run."""

from __future__ import annotations

from dashboard.components.mounting import register

_mount = register("document")


def document(key: str, page: str, *, title: str) -> None:
    """Draw the page.

    Args:
        page: HTML of a whole page that needs no network.
        title: what it is, for those who cannot see it.
    """
    _mount(key=key, data={"page": page, "title": title})
