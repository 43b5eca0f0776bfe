"""Comparing two fixes: counts are those of the two models' predictions, and chance is called chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import binomtest

from attribution.projects import Edit
from dashboard.views.fix_comparison import (
    Difference,
    Overlap,
    became_right,
    became_wrong,
    done_differently,
    edits_overlap,
    facts,
    less_harm,
    purpose_sentence,
)
from tests.unit.fix_records import record

TOTAL = 60


def made(fix_id: str, target: str, right_before: np.ndarray, right_after: np.ndarray) -> object:
    """The record of a fix with these outcomes (TOTAL,)."""
    ids = [f"t{number}" for number in range(TOTAL)]
    return record(
        fix_id,
        test_id=target,
        fixed=bool(right_after[ids.index(target)]),
        newly_fixed=[
            x for x, b, a in zip(ids, right_before, right_after, strict=True) if a and not b and x != target
        ],
        newly_broken=[
            x for x, b, a in zip(ids, right_before, right_after, strict=True) if b and not a and x != target
        ],
    )


@given(some.integers(0, 10_000), some.booleans())
def test_differences_are_those_of_the_predictions(seed: int, same_target: bool) -> None:
    random = np.random.default_rng(seed)
    before, a, b = (random.random(TOTAL) < share for share in (0.6, 0.7, 0.6))
    before[:2] = False  # both fixes are made for mispredictions
    targets = ("t0", "t0" if same_target else "t1")
    first, second = made("a", targets[0], before, a), made("b", targets[1], before, b)
    others = np.arange(TOTAL) >= (1 if same_target else 2)
    expected = int((a & ~b & others).sum()), int((b & ~a & others).sum())
    found = Difference.of(first, second, TOTAL)  # type: ignore[arg-type]
    assert found.right == expected and found.total == others.sum()
    if sum(expected):
        assert found.p == pytest.approx(binomtest(expected[0], sum(expected)).pvalue)
    assert set(became_right(first)) == {f"t{n}" for n in np.flatnonzero(a & ~before)}  # type: ignore[arg-type]
    assert set(became_wrong(first)) == {f"t{n}" for n in np.flatnonzero(before & ~a)}  # type: ignore[arg-type]


def test_words_say_which_does_less_harm_only_where_chance_does_not_explain_it() -> None:
    harmless = record("a")
    little = record("b", newly_broken=["x1", "x2"])
    much = record("c", newly_broken=[f"x{number}" for number in range(12)])
    alike = record("d", newly_broken=["x1", "x2"])
    verdict, numbers = less_harm(harmless, much, 500)
    assert verdict == "Fix A does less harm." and "12 of the other 499" in numbers
    assert less_harm(much, harmless, 500)[0] == "Fix B does less harm."
    verdict, numbers = less_harm(harmless, little, 500)
    assert "cannot be told apart" in verdict and "p = 0.500" in numbers and "may be chance" in numbers
    verdict, numbers = less_harm(little, alike, 500)
    assert verdict == "Neither does less harm." and "right and wrong alike" in numbers


def test_what_the_fixes_are_for_is_said_first() -> None:
    assert purpose_sentence(record("a"), record("b")) is None
    assert "different test examples" in str(purpose_sentence(record("a"), record("b", test_id="t2")))
    assert "Only B fixes" in str(purpose_sentence(record("a", fixed=False), record("b")))
    assert "Neither fixes" in str(purpose_sentence(record("a", fixed=False), record("b", fixed=False)))


def test_examples_in_common_and_apart() -> None:
    def edits(*chosen: tuple[str, str | None]) -> dict[str, object]:
        listed = [
            Edit.model_validate({"train_id": x, "action": "relabel" if label else "upweight", "label": label})
            for x, label in chosen
        ]
        return {"edits": listed, "train_ids": [edit.train_id for edit in listed]}

    first = record("a", **edits(("1", None), ("2", "cat"), ("3", None)))
    second = record("b", **edits(("4", None), ("3", None), ("2", "dog")))
    assert edits_overlap(first, second) == Overlap(["2", "3"], (["1"], ["4"]))
    assert done_differently(first, second) == ["2"]
    assert [a for _, a, b in facts(first, second) if a != b] == []
