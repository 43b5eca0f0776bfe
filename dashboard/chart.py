"""A chart with what people want to take along of it: a picture, and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from dashboard.views.chart_data import table_of

if TYPE_CHECKING:
    import plotly.graph_objects as go


def chart(figure: go.Figure, *, key: str, alt: str) -> None:
    """Draw a figure; its bar saves it as a PNG, the button below its numbers as CSV.

    Args:
        alt: what it shows, for those who cannot see it.
    """
    name = _file_name(key)
    st.plotly_chart(
        figure,
        key=key,
        alt=alt,
        config={
            "displaylogo": False,
            "modeBarButtons": [["toImage"]],
            "toImageButtonOptions": {"format": "png", "filename": name, "scale": 2},
        },
    )
    numbers(figure, key=key)


def numbers(figure: go.Figure, *, key: str) -> None:
    """A button that saves what a figure shows as CSV."""
    name = _file_name(key)
    st.download_button(
        "Numbers as CSV",
        lambda: table_of(figure).to_csv(index=False),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"csv-{key}",
        icon=":material/table_view:",
        type="tertiary",
        on_click="ignore",
    )


def _file_name(key: str) -> str:
    return f"tracefix-{key.lower().replace(' ', '-')}"
