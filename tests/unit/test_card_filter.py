"""Which cards are listed, their order and their groups; notes and tags in the history."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from attribution import Engine
from attribution.explanation import Explanation
from attribution.projects import Project
from attribution.projects.annotations import LONGEST_TAG, MOST_TAGS, Annotation
from attribution.projects.history import History
from dashboard.components.influence import Card
from dashboard.views.card_filter import CardFilter, grouped, ordered


def card(name: str, score: float, **facts: object) -> Card:
    return Card(id=name, score=score, label=str(facts.pop("label", "3")), input="", **facts)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def explanation(prepared_digits: Project) -> Explanation:
    return Engine(prepared_digits, device="cpu").explain(prepared_digits.mispredictions()[0]["id"])


def test_a_filter_lists_the_strongest_of_what_it_leaves(explanation: Explanation) -> None:
    """Not what is left of the strongest: by a brute-force walk over all scores."""
    project = explanation.project
    table = project.predictions("train")
    for only, holds in (
        (CardFilter(label="8"), table["label"].to_numpy() == project.class_names.index("8")),
        (CardFilter(suspected=True), explanation.looks_mislabelled),
        (CardFilter(query=str(table.index[5])), table.index.to_numpy() == table.index[5]),
        (CardFilter(tag="odd"), table.index.isin(table.index[:100])),
    ):
        among = only.mask(explanation, list(table.index[:100]))
        assert among is not None and np.array_equal(among, holds)
        for sign, found in (
            (1, explanation.culprits(7, among=among)),
            (-1, explanation.helpers(7, among=among)),
        ):
            scores = sign * explanation.scores
            walk = [p for p in np.argsort(-scores, kind="stable") if holds[p] and scores[p] > 0][:7]
            assert [c["position"] for c in found] == walk
    both = CardFilter(label="8", suspected=True)
    assert both.count == 2
    assert np.array_equal(
        both.mask(explanation) & True,  # type: ignore[operator]
        CardFilter(label="8").mask(explanation) & explanation.looks_mislabelled,  # type: ignore[operator]
    )
    assert CardFilter().mask(explanation) is None
    assert explanation.culprits(5) == explanation.culprits(5, among=np.ones(len(table), dtype=bool))


def test_what_looks_wrong_is_what_the_cards_say(explanation: Explanation) -> None:
    for found in explanation.culprits(50):
        assert found["suspected_label_error"] == explanation.looks_mislabelled[found["position"]]


def test_groups_stand_where_their_strongest_member_stands() -> None:
    cards = [
        card("a", 9, suspected=True, suggested="8"),
        card("b", 8),
        card("c", 7, suspected=True, suggested="8"),
        card("d", 6, copies=1),
        card("e", 5, suspected=True, suggested="5"),
        card("f", 4, duplicate_of="d"),
        card("g", 3, suspected=True, suggested="8", label="5"),
    ]
    found = grouped(cards)
    assert [c.id for c in found] == ["a", "c", "b", "d", "f", "e", "g"]
    assert [c.group for c in found] == [
        *["2 labelled 3 look like 8"] * 2, None, *["2 near-duplicates"] * 2, None, None,
    ]  # fmt: skip


def test_orders_keep_equals_in_place() -> None:
    cards = [
        card("a", 3, loss=1.0, label="x"),
        card("b", 2, loss=2.0, label="x"),
        card("c", 1, loss=1.0, label="b"),
    ]
    assert [c.id for c in ordered(cards, "loss")] == ["b", "a", "c"]
    assert [c.id for c in ordered(cards, "label")] == ["c", "a", "b"]
    assert ordered(cards, "influence") == cards


def test_notes_and_tags_are_kept_replaced_and_taken_away(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert history.annotations("train") == {}
    history.annotate(
        "train", "7", Annotation.written(" odd one ", ["ambiguous", " ambiguous ", "", "two  words"])
    )
    history.annotate("test", "7", Annotation.written("another", []))
    found = history.annotations("train")
    assert (
        found["7"].note == "odd one" and found["7"].tags == ["ambiguous", "two words"] and found["7"].changed
    )
    history.annotate("train", "7", Annotation.written("new", []))
    assert history.annotations("train")["7"].tags == []
    history.annotate("train", "7", Annotation.written("  ", []))
    assert history.annotations("train") == {} and history.annotations("test")["7"].note == "another"
    many = Annotation.written("", [f"{n} {'x' * 100}" for n in range(50)])
    assert len(many.tags) == MOST_TAGS and max(map(len, many.tags)) <= LONGEST_TAG


def test_a_history_from_before_annotations_has_none(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.annotate("train", "1", Annotation.written("x", []))
    with sqlite3.connect(tmp_path / "history.sqlite") as connection:
        connection.execute("DROP TABLE annotations")
    assert history.annotations("train") == {} and history.list() == []
