"""Explaining several test examples together says what explaining them one by one says, added up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

from attribution import Engine, explainer
from attribution.common import common_order, explained_counts
from attribution.errors import UsageError
from attribution.methods import list_methods

scores = arrays(
    np.float32, some.tuples(some.integers(1, 5), some.integers(1, 12)), elements=some.integers(-3, 3)
)


@pytest.fixture(scope="module")
def wrong(engine: Engine) -> list[str]:
    return [str(row["id"]) for row in engine.project.mispredictions()]


@given(scores, some.integers(1, 6))
def test_an_example_explains_those_whose_strongest_culprits_it_is_among(
    each: np.ndarray, strongest: int
) -> None:
    expected = [0] * each.shape[1]
    for row in each:
        listed = sorted(range(len(row)), key=lambda position: (-row[position], position))[:strongest]
        for position in listed:
            expected[position] += bool(row[position] > 0)
    assert explained_counts(each, strongest=strongest).tolist() == expected


@given(scores)
def test_common_culprits_are_ordered_by_what_they_explain_then_by_score(each: np.ndarray) -> None:
    mean, counts = each.mean(axis=0), explained_counts(each, strongest=3)
    expected = sorted(range(len(mean)), key=lambda position: (-counts[position], -mean[position], position))
    assert common_order(mean, counts).tolist() == [position for position in expected if mean[position] > 0]


@given(scores)
def test_one_alone_is_ordered_by_its_scores(each: np.ndarray) -> None:
    row = each[:1]
    by_score = np.argsort(-row[0], kind="stable")
    order = common_order(row[0], explained_counts(row, strongest=4))
    assert order.tolist() == [position for position in by_score if row[0][position] > 0]


NEED_OTHER_PROJECTS = ("bm25", "turnover_dropout")
"""Methods that a project of pictures, trained as usual, cannot have."""


@pytest.mark.parametrize(
    "method", [info.name for info in list_methods() if info.name not in NEED_OTHER_PROJECTS]
)
def test_a_group_is_the_mean_of_its_members(engine: Engine, wrong: list[str], method: str) -> None:
    group = engine.explain_group(wrong, method=method)
    each = np.stack([engine.explain(one, method=method).scores for one in wrong])
    assert group.each is not None
    np.testing.assert_allclose(group.each, each, rtol=1e-3, atol=1e-4 * np.abs(each).max())
    np.testing.assert_allclose(
        group.scores, group.each.mean(axis=0), rtol=1e-4, atol=1e-6 * np.abs(each).max()
    )
    assert [example["id"] for example in group.examples] == wrong


def test_cards_say_how_many_they_explain(engine: Engine, wrong: list[str]) -> None:
    group = engine.explain_group(wrong)
    assert group.each is not None
    document = group.contract(6)
    assert [example["id"] for example in document["examples"]] == wrong and document["example"][
        "id"
    ] == wrong[0]
    for cards, sign in ((document["culprits"], 1), (document["helpers"], -1)):
        counts = explained_counts(sign * group.each)
        assert [card["explains"] for card in cards] == sorted(
            (counts[sign * group.scores > 0]).tolist(), reverse=True
        )[: len(cards)]
        for card in cards:
            position = engine.project.position("train", card["id"])
            assert card["explains"] == counts[position]
            assert card["score"] == pytest.approx(float(group.scores[position])) and sign * card["score"] > 0


def test_many_are_explained_a_few_at_a_time(
    engine: Engine, wrong: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engine.explain_group(wrong, method="source", use_index=False)
    monkeypatch.setattr(explainer, "_PORTION", 2)
    engine._remembered.clear()
    portions = engine.explain_group(wrong, method="source", use_index=False)
    assert portions is not whole and portions.trust["exact"]
    np.testing.assert_allclose(portions.scores, whole.scores, rtol=1e-4, atol=1e-6)
    assert portions.trust["checkpoint_agreement"] == pytest.approx(
        whole.trust["checkpoint_agreement"], abs=1e-3
    )


def test_one_alone_is_explained_as_ever(engine: Engine, wrong: list[str]) -> None:
    alone = engine.explain(wrong[0])
    assert engine.explain_group([wrong[0], wrong[0]]) is alone
    document = alone.contract(5)
    assert "examples" not in document and all("explains" not in card for card in document["culprits"])
    with pytest.raises(UsageError, match="choose at least one"):
        engine.explain_group([])
