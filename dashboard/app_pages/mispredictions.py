"""Mispredictions: what the model gets wrong. A click on a row investigates it; the confusion matrix filters.

Several that are ticked, or all that a filter leaves, can be explained and fixed together.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.components.confusion import confusion
from dashboard.components.table import Column, Row, table
from dashboard.current import MOST_TOGETHER, Opened, current_project
from dashboard.engines import preload
from dashboard.explaining import explanation_job, question_of
from dashboard.guide import guide
from dashboard.heading import page_heading
from dashboard.map_switch import list_or_map, map_shown
from dashboard.messages import way_out
from dashboard.metrics import Metric, metric_row
from dashboard.stacking import base_of_url, stack_bar
from dashboard.state import filters, go, link, listed, parameter, set_parameters, unlisted
from dashboard.tables import (
    clusters_job,
    clusters_of,
    confusion_of,
    members_of,
    mispredictions_of,
    texts_of,
)
from dashboard.views.accuracy import percent, wilson_interval
from dashboard.views.mispredictions import MATRIX_CLASSES, SORT_KEYS, filtered, sorted_by
from dashboard.waiting import redraw_when

ROWS_PER_PAGE = 50


def metrics(opened: Opened, wrong: int, *, original: bool) -> None:
    """Accuracy with its uncertainty, errors, accuracy on the training data (known of the original model only)."""
    record = opened.project.preparation
    count = int(record["n_test"])
    low, high = wilson_interval(count - wrong, count)
    metric_row(
        [
            Metric(
                "Test accuracy",
                percent((count - wrong) / max(count, 1)),
                f"95 % interval {100 * low:.1f} to {percent(high)}",
            ),
            Metric("Mispredictions", f"{wrong:,}", f"of {count:,} test examples"),
            Metric(
                "Training accuracy",
                percent(record["train_accuracy"]),
                f"of {int(record['n_train']):,} training examples{'' if original else ', original model'}",
            ),
        ]
    )


def pick(true: str | None, predicted: str | None) -> None:
    """Callback of the matrix: filter by a cell, a row or a column, or stop filtering."""
    set_parameters(true=true, predicted=predicted, page=None)


def sort(key: str) -> None:
    """Callback of a column heading: sort by it, downwards first."""
    descending = not (parameter("sort") == key and parameter("order") != "up")
    set_parameters(sort=key, order=None if descending else "up", page=None)


def clear_filter() -> None:
    """Callback: show all mispredictions again."""
    set_parameters(true=None, predicted=None, cluster=None, q=None, page=None)
    st.session_state["search"] = ""


def search_changed() -> None:
    """Callback of the search box."""
    set_parameters(q=st.session_state["search"].strip() or None, page=None)


def cluster_changed() -> None:
    """Callback of the list of clusters."""
    set_parameters(cluster=st.session_state["cluster"], page=None)


def tick(ids: Sequence[str], on: bool) -> None:
    """Callback of the boxes: the URL says which are ticked."""
    others = [one for one in unlisted(parameter("ticked")) if one not in ids]
    set_parameters(ticked=listed([*others, *ids] if on else others))


def untick() -> None:
    """Callback: tick nothing."""
    set_parameters(ticked=None)


def page_changed(key: str) -> None:
    """Callback of the page switch."""
    number = st.session_state[key]
    set_parameters(page=str(number) if number > 1 else None)


def toolbar(opened: Opened, shown: int, total: int) -> None:
    """Search box, and what the filter in force is."""
    here = filters() | {"cluster": cluster_name(opened)}
    if st.session_state.get("search") != (here["q"] or ""):
        st.session_state["search"] = here["q"] or ""
    words = "Search text or id" if opened.project.kind == "text" else "Search id"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text_input(
            words,
            key="search",
            on_change=search_changed,
            placeholder=words,
            label_visibility="collapsed",
            icon=":material/search:",
            width=260,
        )
        list_or_map("Table", "mispredictions-shown")
        active = any(here.values())
        if active:
            st.button(
                "Clear filter", key="clear-filter", on_click=clear_filter, icon=":material/filter_alt_off:"
            )
        with st.container(width="content"):
            st.text(description(here, shown, total))


def description(here: dict[str, str | None], shown: int, total: int) -> str:
    """The filter in words: data in it is shown by `st.text`, as it is."""
    if not any(here.values()):
        return f"All {total:,}, worst loss first" if parameter("sort") is None else f"All {total:,}"
    parts = [f"{shown:,} of {total:,}"]
    if here["true"]:
        parts.append(f"true {here['true']}")
    if here["predicted"]:
        parts.append(f"predicted {here['predicted']}")
    if here["cluster"]:
        parts.append(f"cluster {here['cluster']}")
    if here["q"]:
        parts.append(f"with “{here['q']}”")
    return " · ".join(parts)


def cluster_name(opened: Opened) -> str | None:
    """What the cluster of the filter is called; None where there is none."""
    chosen = parameter("cluster")
    found = None if chosen is None else clusters_of(opened).get(chosen)
    return None if found is None else found.name


def cluster_switch(opened: Opened) -> None:
    """The clusters, to filter by; of many mispredictions as soon as they are found."""
    job = clusters_job(opened)
    if job is not None and not job.finished:
        st.caption("Looking for errors of a common cause.")
        redraw_when(lambda: job.finished)
        return
    clusters = clusters_of(opened)
    if not clusters:
        return
    chosen = parameter("cluster")
    st.session_state["cluster"] = chosen if chosen in clusters else None
    st.selectbox(
        "Errors of a common cause",
        list(clusters),
        index=None,
        key="cluster",
        placeholder=f"{len(clusters)} cluster{'s' if len(clusters) > 1 else ''}: choose one to filter",
        format_func=lambda key: f"{clusters[key].name} ({len(clusters[key].test_ids)})",
        on_change=cluster_changed,
        help="Mispredictions whose causes are alike, told from the last layer: what it reads, and which class it takes "
        "for which. Members share several times as many of their strongest culprits as others do.",
    )


def together(opened: Opened, found: pd.DataFrame, ticked: Sequence[str]) -> None:
    """The button that explains and fixes several at once: those ticked, else all that the filter leaves."""
    chosen = list(ticked) or (list(found.index) if any(filters().values()) else [])
    if not chosen:
        st.caption("Tick several, or filter, to fix them together.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        too_many = len(chosen) > MOST_TOGETHER
        st.button(
            f"Fix these {len(chosen):,} together",
            key="together",
            type="primary",
            icon=":material/group_work:",
            disabled=too_many or len(chosen) < 2,
            on_click=open_together,
            args=(opened, chosen),
        )
        if ticked:
            st.button("Untick all", key="untick", icon=":material/check_box_outline_blank:", on_click=untick)
        if too_many:
            st.caption(f"At most {MOST_TOGETHER} at once: tick some, or filter further.")
        elif len(chosen) == 1:
            st.caption("One alone is investigated by a click on its row: tick another.")


def open_together(opened: Opened, example_ids: Sequence[str]) -> None:
    """Callback: explain and fix them together; the explanation starts while the page changes."""
    question = question_of(opened, example_ids[0], example_ids[1:])[0]
    explanation_job(opened, question)
    go("group", question.parameters(opened))


def rows_of(opened: Opened, page: pd.DataFrame, ticked: Sequence[str]) -> list[Row]:
    """The rows of one page of the table."""
    inputs = {card["id"]: card["input"] for card in opened.project.describe("test", page.index)}
    return [
        Row(
            id=str(example_id),
            name=f"Investigate {example_id}: true {line.true}, predicted {line.predicted}",
            href=link("investigate", target(opened, str(example_id))),
            cells={
                "ticked": str(example_id) in ticked,
                "input": inputs[example_id],
                "id": str(example_id),
                "classes": {"from": line.true, "to": line.predicted},
                "confidence": float(line.confidence),
                "loss": float(line.loss),
            },
        )
        for example_id, line in zip(page.index, page.itertuples(), strict=True)
    ]


def target(opened: Opened, example_id: str) -> dict[str, str | None]:
    """Where a row leads: the example, within the filter it was found in."""
    return {"project": opened.reference, "example": example_id, "base": parameter("base")} | filters()


def investigate(opened: Opened, example_id: str) -> None:
    """Callback of a row: open the example; its explanation starts while the page changes."""
    explanation_job(opened, question_of(opened, example_id)[0])
    go("investigate", target(opened, example_id))


def misprediction_rows(opened: Opened, found: pd.DataFrame, ticked: Sequence[str]) -> None:
    """The table, a page at a time."""
    pages = max(1, -(-len(found) // ROWS_PER_PAGE))
    wanted = parameter("page") or "1"
    number = min(max(int(wanted) if wanted.isdigit() else 1, 1), pages)
    part = found.iloc[(number - 1) * ROWS_PER_PAGE : number * ROWS_PER_PAGE]
    key = parameter("sort") if parameter("sort") in SORT_KEYS else "loss"
    table(
        "mispredictions",
        [
            Column("ticked", "Choose all on this page", "tick"),
            Column("input", "Example", "example", link=True),
            Column("classes", "True → predicted", "transition"),
            Column("confidence", "Confidence", "share", sortable=True, tone="culprit"),
            Column("loss", "Loss (nats)", "number", align="right", sortable=True),
            Column("id", "Id", "muted", align="right", minor=True),
        ],
        rows_of(opened, part, ticked),
        caption="Mispredictions: activate a row to investigate it",
        kind=opened.project.kind,
        sort=(str(key), parameter("order") != "up"),
        on_open=lambda example_id: investigate(opened, example_id),
        on_sort=sort,
        on_tick=tick,
    )
    if pages > 1:
        switch = f"page {number} of {pages}"  # a new switch for each page: the URL says which one is shown
        with st.container(horizontal_alignment="center"):
            st.pagination(pages, default=number, key=switch, on_change=page_changed, args=(switch,))


opened = current_project()
page_heading(opened, "Mispredictions", "click a row to see which training examples are behind it")
guide(opened, "mispredictions")
beneath = base_of_url(opened)
stack_bar(opened, beneath)
base = beneath[-1].fix_id if beneath else None
everything = mispredictions_of(opened, base)
metrics(opened, len(everything), original=base is None)
if everything.empty:
    st.success(
        "Every test example is predicted right: there is nothing to trace here. Try another project, or add harder "
        "test examples and prepare the project again.",
        title="No mispredictions",
        icon=":material/celebration:",
    )
    way_out("All projects", "projects", key="exit-none")
    st.stop()

chosen = filters()
found = filtered(
    everything,
    texts_of(opened),
    true=chosen["true"],
    predicted=chosen["predicted"],
    query=chosen["q"],
    among=members_of(opened, chosen["cluster"]),
)
found = sorted_by(found, parameter("sort"), parameter("order") != "up")

list_side, matrix_side = st.columns([3, 2], gap="large")
with matrix_side:
    st.subheader("Confusion matrix", anchor=False)
    classes, counts = confusion_of(opened, base)
    omitted = len(opened.project.class_names) - len(classes)
    st.caption(
        "Click a cell, a row or a column to filter."
        + (
            f" The {MATRIX_CLASSES} classes with the most errors, of {len(classes) + omitted}."
            if omitted
            else ""
        )
    )
    confusion("confusion", classes, counts, selected=(chosen["true"], chosen["predicted"]), on_pick=pick)
    if base is None:  # clusters are those of the original model's errors
        cluster_switch(opened)
with list_side:
    toolbar(opened, len(found), len(everything))
    if found.empty:
        st.info("No misprediction matches this filter.", icon=":material/filter_alt:")
    else:
        ticked = [one for one in unlisted(parameter("ticked")) if one in everything.index]
        together(opened, found, ticked)
        if map_shown():
            from dashboard.error_map_panel import draw_error_map  # plotly, which the table need not wait for

            draw_error_map(
                opened,
                base,
                found,
                ticked,
                on_open=lambda example_id: investigate(opened, example_id),
                on_tick=tick,
                on_together=lambda example_ids: open_together(opened, example_ids),
            )
        else:
            misprediction_rows(opened, found, ticked)
preload(opened)
