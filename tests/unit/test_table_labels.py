"""Labels of a table as class numbers: each way to write one, and a sentence for each that fits no class."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from attribution.errors import ProjectError
from attribution.sources.tables.labels import ClassLabels, LabelColumn

TABLE = Path("table.csv")
MOODS = ["NEGATIVE", "POSITIVE"]
GENERIC = ["LABEL_0", "LABEL_1", "LABEL_2"]
STARS = ["1", "2", "3"]


def column_of(labels: list[Any]) -> LabelColumn:
    column = LabelColumn(TABLE, "label")
    column.add(labels[:1])
    column.add(labels[1:])
    return column


def numbers(
    labels: list[Any],
    names: list[str],
    label2id: dict[str, int] | None = None,
    stored: list[str] | None = None,
) -> list[int]:
    found = ClassLabels(names, label2id).numbers(column_of(labels), stored)
    return found.numbers.tolist()


def notes(labels: list[Any], names: list[str], stored: list[str] | None = None) -> str:
    return " ".join(ClassLabels(names).numbers(column_of(labels), stored).notes)


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (["POSITIVE", "NEGATIVE", "POSITIVE"], MOODS, [1, 0, 1]),
        (["Positive", " negative ", "POSITIVE"], MOODS, [1, 0, 1]),
        ([0, 1], MOODS, [0, 1]),
        (["1", "0"], MOODS, [1, 0]),
        ([1.0, 0.0], MOODS, [1, 0]),
        (["1.0", "0.", "1.00"], MOODS, [1, 0, 1]),
        ([True, False], MOODS, [1, 0]),
        (["true", "FALSE"], MOODS, [1, 0]),
        (["1", "NEGATIVE", True], MOODS, [1, 0, 1]),
        (["LABEL_1", "label_0"], MOODS, [1, 0]),
        (["LABEL_2", "1", 0], GENERIC, [2, 1, 0]),
        ([True, False], ["False", "True"], [1, 0]),
        ([True, False], ["True", "False"], [0, 1]),
        (["1", "3"], STARS, [0, 2]),
        ([1, 3], STARS, [0, 2]),
        ([0, 2], STARS, [0, 2]),
        ([0, 1, 2], STARS, [0, 1, 2]),
        (["straße", "CAFE\u0301"], ["Café", "STRASSE"], [1, 0]),
    ],
)
def test_ways_to_write_a_label(labels: list[Any], names: list[str], expected: list[int]) -> None:
    assert numbers(labels, names) == expected


@settings(deadline=None)
@given(
    names=some.lists(
        some.text(min_size=1).filter(lambda n: n.strip() == n), min_size=2, max_size=5, unique=True
    ),
    data=some.data(),
)
def test_the_name_of_a_class_is_always_that_class(names: list[str], data: some.DataObject) -> None:
    """Whatever a class is called: 'true', '1', 'LABEL_7', or like another but for its case."""
    chosen = data.draw(some.lists(some.integers(0, len(names) - 1), min_size=1, max_size=9))
    assert numbers([names[number] for number in chosen], names) == chosen


@settings(deadline=None)
@given(classes=some.integers(2, 30), data=some.data())
def test_class_numbers_of_any_type_are_those_numbers(classes: int, data: some.DataObject) -> None:
    chosen = data.draw(some.lists(some.integers(0, classes - 1), min_size=1, max_size=9))
    names = [f"class {number}" for number in range(classes)]
    for kind in (int, float, str, lambda number: f"{number}.0"):
        assert numbers([kind(number) for number in chosen], names) == chosen


def test_names_of_label2id_count_where_id2label_has_others() -> None:
    assert numbers(["neg", "POS", "POSITIVE"], MOODS, {"neg": 0, "pos": 1}) == [0, 1, 1]
    with pytest.raises(ProjectError, match="class 0 by the model's id2label and class 1 by its label2id"):
        numbers(["NEGATIVE"], MOODS, {"NEGATIVE": 1, "POSITIVE": 0})
    config = SimpleNamespace(num_labels=2, id2label={0: "a", 1: "b"}, label2id={"x": 1, "y": 7})
    assert ClassLabels.of(config).numbers(column_of(["a", "x"])).numbers.tolist() == [0, 1]


def test_names_that_the_table_keeps_for_its_numbers_are_honoured() -> None:
    """`datasets` may count the classes in another order than the model does."""
    assert numbers([0, 1, 1], MOODS, stored=["positive", "negative"]) == [1, 0, 0]
    assert numbers([2, 0], GENERIC, stored=["a", "b", "c"]) == [2, 0]
    assert "'a', 'b', 'c', count in order" in notes([2, 0], GENERIC, stored=["a", "b", "c"])
    assert numbers(["POSITIVE"], MOODS, stored=["positive", "negative"]) == [1], (
        "names replaced the numbers since"
    )
    with pytest.raises(ProjectError, match=r"calls its classes 'pos', 'neg', and the model knows no 'neg'"):
        numbers([1], MOODS, stored=["pos", "neg"])
    with pytest.raises(ProjectError, match=r"row 2 has the label '-1' in column 'label'.*names for 0 to 1"):
        numbers([0, -1], MOODS, stored=["negative", "positive"])


def test_both_splits_mean_the_same_by_a_label_that_is_a_name_and_a_number() -> None:
    by_number, by_name = ClassLabels(STARS), ClassLabels(STARS)
    assert by_number.numbers(column_of([0, 1])).numbers.tolist() == [0, 1]
    assert by_number.numbers(column_of([1, 2])).numbers.tolist() == [1, 2]
    assert by_name.numbers(column_of([1, 2])).numbers.tolist() == [0, 1]
    with pytest.raises(ProjectError, match="row 1 has the label '0'"):
        by_name.numbers(column_of([0, 1]))


def test_what_could_surprise_is_said() -> None:
    assert "'Positive' is the model's 'POSITIVE'" in notes(["Positive"], MOODS)
    assert "read as class names, not numbers: '1' is class 0" in notes([1, 3], STARS)
    assert (
        not notes(["POSITIVE", "NEGATIVE"], MOODS)
        and not notes([0, 1], MOODS)
        and not notes(["LABEL_1"], MOODS)
    )


@pytest.mark.parametrize(
    ("labels", "names", "sentence"),
    [
        (["POSITIVE", "meh"], MOODS, r"row 2 has the label 'meh' in column 'label'.*are 'NEGATIVE', 'POSITIVE'"),
        (["POSITIV"], MOODS, r"did you mean 'POSITIVE'\?"),
        ([0, 2], MOODS, "row 2 has the label '2'.*class numbers are 0 to 1"),
        ([1, 2], MOODS, "class numbers start at 0, so subtract 1 from each"),
        ([-1, 0], MOODS, "row 1 has the label '-1'.*drop the rows without a class"),
        (["1.5"], MOODS, "row 1 has the label '1.5'"),
        ([0.5], MOODS, "row 1 has the label '0.5'"),
        (["01"], MOODS, "row 1 has the label '01'"),
        (["good"], GENERIC, "classes are 0 to 2, without names; .*give the classes names with id2label"),
        (["LABEL_3"], GENERIC, "row 1 has the label 'LABEL_3'"),
        ([True], GENERIC, "row 1 has the label 'True'"),
        ([0, 1, 3], STARS, "row 1 has the label '0'"),
        (["Us"], ["US", "us"], "it could be 'US' or 'us'"),
        ([0, None], MOODS, "row 2 has no label in column 'label'"),
        ([0, float("nan")], MOODS, "row 2 has no label"),
        (["POSITIVE", " "], MOODS, "row 2 has no label"),
        ([["POSITIVE"]], MOODS, "row 1 holds a list in column 'label'"),
        (["x" * 500], MOODS, "x{59}…'"),
    ],
)  # fmt: skip
def test_a_label_that_fits_no_class_is_explained(labels: list[Any], names: list[str], sentence: str) -> None:
    with pytest.raises(ProjectError, match=sentence) as caught:
        numbers(labels, names)
    assert str(caught.value).startswith("'table.csv'") and "\n" not in str(caught.value)


def test_a_column_with_another_value_in_each_row_is_no_column_of_labels() -> None:
    column = LabelColumn(TABLE, "text", limit=100)
    with pytest.raises(ProjectError, match="more than 100 different labels in column 'text'"):
        column.add([f"text {number}" for number in range(101)])
