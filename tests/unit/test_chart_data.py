"""The numbers of a chart as a table: those that it shows, no more and no fewer."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboard.views.agreement import agreement_heatmap
from dashboard.views.chart_data import table_of


def test_every_point_is_a_row_under_the_axes_names() -> None:
    figure = go.Figure(
        [
            go.Scatter(name="fix", x=[0, 1, 2], y=[0.1, None, 0.9]),
            go.Scatter(name="control", y=[0.5, 0.6]),
            go.Bar(name="right", x=["a"], y=[3], xaxis="x2"),
        ]
    )
    figure.update_layout(xaxis={"title": "step"}, yaxis={"title": "probability"}, xaxis2={"title": "class"})
    table = table_of(figure)
    assert table.loc[table["series"] == "fix", ["step", "probability"]].values.tolist() == [
        [0, 0.1],
        [2, 0.9],
    ]
    assert table.loc[table["series"] == "control", ["step", "probability"]].values.tolist() == [
        [0, 0.5],
        [1, 0.6],
    ]
    assert table.loc[table["series"] == "right", ["class", "probability"]].values.tolist() == [["a", 3]]


def test_where_points_carry_ids_marks_on_them_are_left_out() -> None:
    figure = go.Figure(
        [
            go.Scatter(name="cat", x=[0, 1], y=[2, 3], customdata=["p", "q"]),
            go.Scatter(name="dog", x=[4], y=[5], customdata=["r"]),
            go.Scatter(name="ticked", x=[1], y=[3]),
            go.Scatter(name="classes", x=[0.5], y=[2.5], text=["cat"], mode="text"),
        ]
    )
    table = table_of(figure)
    assert table["id"].tolist() == ["p", "q", "r"] and table["series"].tolist() == ["cat", "cat", "dog"]


def test_the_cells_of_a_heatmap_are_rows() -> None:
    values = [[1.0, 0.25], [0.25, 1.0]]
    table = table_of(
        agreement_heatmap(["path", "tracin"], values, title="Agreement", percent=False, dark=False)
    )
    cells = {(row["row"], row["column"]): row["value"] for row in table.to_dict("records")}
    assert cells[("path  1", "2")] == 0.25 and cells[("path  1", "1")] == 1.0 and len(cells) == 4
    assert table_of(go.Figure()).empty
