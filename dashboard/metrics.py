"""A row of numbers that matter, each with a note that puts it into proportion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st


@dataclass(frozen=True)
class Metric:
    """A number, its name above it and a note below; ``help`` is shown on demand."""

    title: str
    value: str
    note: str
    help: str | None = None


def metric_row(metrics: Sequence[Metric]) -> None:
    """Draw the metrics side by side, as many as the screen has room for."""
    with st.grid(len(metrics), min_column_width=200, gap="small"):
        for metric in metrics:
            st.metric(
                metric.title,
                metric.value,
                delta=metric.note,
                delta_color="off",
                delta_arrow="off",
                border=True,
                help=metric.help,
            )
