"""The map of the training data around one prediction: what is drawn around is listed, and can go into the fix tray."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray

from attribution.maps.example_map import SEED, ExampleMap
from attribution.maps.sample import even_sample
from dashboard.card_list import View
from dashboard.chart import numbers
from dashboard.components.points import points
from dashboard.components.table import Column, Row, table
from dashboard.current import Opened
from dashboard.error_map_panel import without_webgl
from dashboard.explaining import Question
from dashboard.explanation_panel import draw_explanation
from dashboard.jobs import Job
from dashboard.map_switch import MapChoice, follow_map, look, map_switches
from dashboard.maps import map_shelf
from dashboard.state import listed
from dashboard.tables import test_example
from dashboard.thumbnails import thumbnails
from dashboard.tray import MOST_EDITS, FixTray, changed
from dashboard.tray_panel import tray_of
from dashboard.views.look import Look
from dashboard.views.map_figure import drawn_around, shares_words
from dashboard.views.training_map import LitExample, training_map

if TYPE_CHECKING:
    from attribution.explanation import Explanation

FRAME = "training-map"
"""Key of the container around the figure."""

MOST_SHOWN = 5000
"""Training examples that are drawn."""

MOST_LISTED = 50
"""Of those drawn around, so many of the strongest are listed."""

_PICKED = "picked on the map"


def draw_training_map(opened: Opened, question: Question, view: View, job: Job, *, wrong: bool) -> None:
    """The map, with the influential examples lit as soon as the explanation has any.

    Args:
        job: the explanation.
        wrong: whether the test example is mispredicted, so that there is something to fix.
    """
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        choice = map_switches("training")
    found: Explanation | None = job.result if job.state == "done" else job.interim.result
    if found is None:
        draw_explanation(opened, question, view, job)  # how far it is, or what went wrong
    follow_map(opened, choice, lambda: _draw(opened, question, view, found, choice, wrong=wrong))


def _draw(
    opened: Opened,
    question: Question,
    view: View,
    explanation: Explanation | None,
    choice: MapChoice,
    *,
    wrong: bool,
) -> None:
    found = map_shelf().get(opened, choice.space, choice.projection)
    assert found is not None, "drawn only where it is there"
    owner = f"{opened.reference} {listed(question.example_ids)}"
    explained = hash((question.measured(opened), question.method))
    lit = [] if explanation is None else _lit(explanation, view.top)
    tray = tray_of(opened, question)
    chosen = tuple(edit.train_id for edit in tray.edits)
    key = f"training {choice.space} {choice.projection} {explained}"

    def picked(ids: Sequence[str]) -> None:
        st.session_state[_PICKED] = (owner, list(ids))

    st.caption(_words(opened, question, found, explanation))
    with st.container(key=FRAME):
        figure = _drawn(
            (*opened.key, choice.space, choice.projection, explained),
            tuple((one.id, one.score) for one in lit),
            chosen,
            look(),
            opened,
            question,
            found,
            lit,
        )
        st.plotly_chart(
            figure,
            key=key,
            on_select=lambda: picked(drawn_around(st.session_state.get(key))),
            selection_mode=("box", "lasso"),
            config={"displaylogo": False, "scrollZoom": True},
            alt=f"Map of the training data with {sum(one.score > 0 for one in lit)} culprits and "
            f"{sum(one.score < 0 for one in lit)} helpers lit. The same are listed as cards.",
        )
    points(
        "training-points",
        FRAME,
        thumbnails(opened, "train", [one.id for one in lit])
        | thumbnails(opened, "test", question.example_ids),
        on_click=lambda train_id: picked([train_id]),
        on_no_webgl=without_webgl,
    )
    numbers(figure, key="training map")
    whose, ids = st.session_state.get(_PICKED, (None, []))
    if whose == owner and ids:
        _picked_list(opened, question, tray, ids, explanation, wrong=wrong)
    else:
        st.caption("Draw a box or a lasso around training examples, or click one, to list them here.")


def _words(opened: Opened, question: Question, found: ExampleMap, explanation: Explanation | None) -> str:
    positions = [opened.project.position("test", one) for one in question.example_ids]
    missing = int(np.isnan(found.test[positions]).any(axis=1).sum())
    parts = ["▲ orange: culprits, ▼ blue: helpers, larger where stronger, ★ the test example."]
    if missing:
        parts.append(
            "It has no place in this map, which holds the mispredictions and a sample of the others."
        )
    if explanation is None:
        parts.append("The influential ones are still being looked for.")
    return " ".join([*parts, shares_words(found)])


def _lit(explanation: Explanation, top: int) -> list[LitExample]:
    text = explanation.project.kind != "image"
    return [
        LitExample(
            card["id"],
            card["position"],
            card["score"],
            card["label"],
            bool(card["suspected_label_error"]),
            str(card["input"]) if text else None,
        )
        for card in [*explanation.culprits(top), *explanation.helpers(top)]
    ]


def _picked_list(
    opened: Opened,
    question: Question,
    tray: FixTray,
    ids: Sequence[str],
    explanation: Explanation | None,
    *,
    wrong: bool,
) -> None:
    """What was drawn around, strongest first, with what can be done with each and with all."""
    known = opened.project.predictions("train").index
    positions = {one: int(known.get_loc(one)) for one in ids if one in known}
    scores = {
        one: 0.0 if explanation is None else float(explanation.scores[p]) for one, p in positions.items()
    }
    ranked = sorted(positions, key=lambda one: -abs(scores[one]))[:MOST_LISTED]
    true = test_example(opened, question.example_id, question.base)["true"]
    described = {card["id"]: card for card in opened.project.describe("train", ranked)}
    more = f", the strongest {len(ranked)} of them listed" if len(positions) > len(ranked) else ""
    st.subheader(f"{len(positions):,} training examples selected{more}", anchor=False)
    relabelled = [one for one in ranked if described[one]["label"] != true]
    if wrong and not question.others:
        with st.container(horizontal=True, gap="small"):
            for name, words, members, action in (
                ("relabel", f"Relabel {len(relabelled)} as {_short(true)}", relabelled, "relabel"),
                ("upweight", f"Up-weight all {len(ranked)}", ranked, "upweight"),
                ("remove", f"Remove all {len(ranked)}", ranked, "remove"),
            ):
                st.button(
                    words,
                    key=f"picked-{name}",
                    disabled=not members,
                    on_click=_put_all,
                    args=(tray, members, action, true if action == "relabel" else None),
                )
    in_tray = {edit.train_id: edit for edit in tray.edits}
    table(
        "picked",
        [
            Column("input", "Example", "example"),
            Column("id", "Id", "muted", minor=True),
            Column("label", "Label", "chip"),
            Column("score", "Score", "word", align="right"),
            Column("tray", "", "chip", minor=True),
            Column("do", "", "actions"),
        ],
        [
            Row(
                id=one,
                name=f"training example {one}",
                cells={
                    "input": described[one]["input"],
                    "id": one,
                    "label": {"text": described[one]["label"]},
                    "score": f"{scores[one]:+.3g}" if explanation is not None else "",
                    "tray": {"text": _done(in_tray[one].action)} if one in in_tray else None,
                    "do": _actions(one in in_tray, described[one]["label"] != true, true) if wrong else [],
                },
            )
            for one in ranked
        ],
        caption="Training examples selected on the map, strongest first",
        kind=opened.project.kind,
        height=420,
        on_act=lambda action, one: _act(tray, action, one, true),
    )


def _actions(in_tray: bool, differs: bool, true: str) -> list[dict[str, str]]:
    if in_tray:
        return [{"name": "out", "label": "Take out"}]
    relabel = [{"name": "relabel", "label": f"→ {_short(true)}"}] if differs else []
    return [*relabel, {"name": "upweight", "label": "Up-weight"}, {"name": "remove", "label": "Remove"}]


def _done(action: str) -> str:
    return {"relabel": "relabelled", "upweight": "up-weighted", "remove": "removed"}[action]


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"


def _act(tray: FixTray, action: str, train_id: str, true: str) -> None:
    tray.set(train_id, None if action == "out" else action, true if action == "relabel" else None)


def _put_all(tray: FixTray, ids: Sequence[str], action: str, label: str | None) -> None:
    """Callback: all of them into the tray, in one step that can be undone."""
    edits = tray.edits
    for one in ids:
        edits = changed(edits, one, action, label)
    tray.put(edits[:MOST_EDITS])


@st.cache_resource(max_entries=32, show_spinner=False)
def _drawn(
    about: tuple[Any, ...],
    lit: tuple[tuple[str, float], ...],
    chosen: tuple[str, ...],
    look: Look,
    _opened: Opened,
    _question: Question,
    _found: ExampleMap,
    _lit: Sequence[LitExample],
) -> go.Figure:
    del lit
    project = _opened.project
    predictions = project.predictions("train")
    return training_map(
        _found,
        ids=_ids(_opened.key, _opened),
        labels=predictions["label"].to_numpy(),
        class_names=project.class_names,
        shown=_shown(_opened.key, _opened),
        lit=_lit,
        queries=[(one, project.position("test", one)) for one in _question.example_ids],
        chosen=[project.position("train", one) for one in chosen],
        look=look,
        view=str(about[:4]),
    )


@st.cache_resource(max_entries=8, show_spinner=False)
def _ids(key: Hashable, _opened: Opened) -> list[str]:
    del key
    return [str(one) for one in _opened.project.predictions("train").index]


@st.cache_resource(max_entries=8, show_spinner=False)
def _shown(key: Hashable, _opened: Opened) -> NDArray[np.int64]:
    """Positions of the training examples that are drawn faintly, evenly by class."""
    labels = _opened.project.predictions("train")["label"].to_numpy()
    return np.sort(even_sample(_ids(key, _opened), labels, MOST_SHOWN, seed=SEED))
