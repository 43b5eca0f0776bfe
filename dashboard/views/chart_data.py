"""The numbers that a figure shows, as a table to take along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    import plotly.graph_objects as go


def table_of(figure: go.Figure) -> pd.DataFrame:
    """One row for each point of each trace: the trace's name, its axes (columns named as the axes are), or its cells.
    Ids that points carry have a column, too; traces without any are then marks on the others, and left out.

    Points without a place (gaps of a line) are left out.
    """
    carried = [trace for trace in figure.data if _ids(trace)]
    parts = [
        _of_heatmap(trace) if trace.type == "heatmap" else _of_points(figure, trace)
        for trace in carried or figure.data
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _of_points(figure: go.Figure, trace: Any) -> pd.DataFrame:
    across, upwards = (_axis_title(figure, getattr(trace, f"{axis}axis") or axis) for axis in ("x", "y"))
    x, y = _values(trace.x), _values(trace.y)
    length = max(len(x), len(y))
    table = pd.DataFrame(
        {
            "series": trace.name or "",
            across: x if x else list(range(length)),
            upwards if upwards != across else f"{upwards} (y)": y if y else list(range(length)),
        }
    )
    ids = _ids(trace)
    if len(ids) == length:
        table.insert(1, "id", ids)
    return table.dropna()


def _ids(trace: Any) -> list[str]:
    """What the points of a trace are called; nothing where they carry no ids."""
    marked = [] if trace.type == "heatmap" else _values(trace.customdata)
    return marked if all(isinstance(one, str) for one in marked) else []


def _of_heatmap(trace: Any) -> pd.DataFrame:
    columns, rows = _values(trace.x), _values(trace.y)
    return pd.DataFrame(
        [
            {"row": row, "column": column, "value": value}
            for row, values in zip(rows, trace.z, strict=True)
            for column, value in zip(columns, _values(values), strict=True)
            if value is not None and value == value
        ]
    )


def _axis_title(figure: go.Figure, name: str) -> str:
    """What an axis ("x", "y2") is called."""
    axis = figure.layout[f"{name[0]}axis{name[1:]}"]
    return (axis.title.text if axis is not None and axis.title.text else None) or name[0]


def _values(values: Any) -> list[Any]:
    return [] if values is None else list(values)
