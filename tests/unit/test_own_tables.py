"""What is told of a model folder and its tables before anything is loaded, and what of it people are shown."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from attribution.sources.tables import read_table
from dashboard.new_project import Table
from dashboard.own_drafts import project_directory, suggested_name
from dashboard.own_tables import (
    FoundModel,
    FoundTable,
    first_rows,
    found_model,
    guessed_columns,
    label_counts,
)
from dashboard.permission import writing_refused
from dashboard.views.table_preview import preview_rows, shown, thumbnail, visible

TEXTS = FoundModel(Path(), "BertForSequenceClassification", ["no", "yes"], "text")
PICTURES = FoundModel(Path(), "ResNetForImageClassification", ["no", "yes"], "image")
EITHER = FoundModel(Path(), "a model", ["no", "yes"], None)


def found(columns: dict[str, list[object]], file: Path = Path("t.csv")) -> FoundTable:
    return FoundTable(file, pd.DataFrame(columns), True)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("count", [3, 7, 8])
def test_the_first_rows_are_those_of_the_whole_table(tmp_path: Path, ending: str, count: int) -> None:
    table = pd.DataFrame({"text": [f"row, {n}\nline" for n in range(7)], "label": list("abcabca")})
    file = tmp_path / f"t.{ending}"
    if ending == "parquet":
        table.to_parquet(file, row_group_size=2)
    elif ending == "jsonl":
        table.to_json(file, lines=True, orient="records")
    else:
        table.to_csv(file, sep="\t" if ending == "tsv" else ",", index=False)
    rows, complete = first_rows(file, count)
    assert complete == (count >= 7)
    pd.testing.assert_frame_equal(rows.reset_index(drop=True), read_table(file).head(count))


@pytest.mark.parametrize(
    ("columns", "model", "expected"),
    [
        ({"sentence": ["a b", "c"], "label": [0, 1]}, TEXTS, Table(text="sentence", label="label")),
        ({"idx": [1, 2], "Text": ["a", "b"], "Label": [0, 1]}, TEXTS, Table(text="Text", label="Label", id="idx")),
        ({"k": ["x", "y"], "words": ["long text", "more"], "v": ["yes", "no"]}, TEXTS, Table(text="words", label="v")),
        ({"id": [1, 1], "text": ["a", "b"], "label": [0, 1]}, TEXTS, Table(text="text", label="label")),
        ({"file_name": ["a.png"], "text": ["a"], "label": ["yes"]}, PICTURES, Table(image="file_name", label="label")),
        ({"photo": ["x/a.JPG"], "note": ["?"], "class": ["yes"]}, PICTURES, Table(image="photo", label="class")),
        ({"image": [{"bytes": b"", "path": None}], "label": [1]}, EITHER, Table(image="image", label="label")),
    ],
)  # fmt: skip
def test_columns_are_guessed(columns: dict[str, list[object]], model: FoundModel, expected: Table) -> None:
    assert guessed_columns(found(columns), model) == expected


def test_labels_are_counted_in_both_tables() -> None:
    train, test = found({"label": ["yes", "no", "yes", "0"]}), found({"label": ["maybe", "yes"]})
    counts = label_counts(train, test, "label", ["no", "yes"])
    assert [(c.value, c.train, c.test, c.meaning) for c in counts] == [
        ("yes", 2, 1, "yes"),
        ("0", 1, 0, "no"),
        ("no", 1, 0, "no"),
        ("maybe", 0, 1, None),
    ]


@pytest.mark.parametrize(
    ("config", "classes", "kind"),
    [
        ({"architectures": ["ViTForImageClassification"], "id2label": {"1": "b", "0": "a"}}, ["a", "b"], "image"),
        ({"architectures": ["XForSequenceClassification"], "num_labels": 2}, ["LABEL_0", "LABEL_1"], "text"),
        ({"model_type": "bert"}, ["LABEL_0", "LABEL_1"], None),
    ],
)  # fmt: skip
def test_a_config_says_classes_and_kind(
    tmp_path: Path, config: dict[str, object], classes: list[str], kind: str | None
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = found_model(str(tmp_path))
    assert (model.classes, model.kind) == (classes, kind)


def test_a_picture_is_shown_small_and_only_from_the_tables_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "in").mkdir(parents=True)
    Image.new("RGB", (400, 200), "red").save(folder / "in" / "a.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    content = (folder / "in" / "a.png").read_bytes()
    for value in (
        "in/a.png",
        content,
        {"bytes": content, "path": "a.png"},
        {"bytes": None, "path": "in/a.png"},
    ):
        uri = thumbnail(value, folder)
        picture = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
        assert picture.size == (96, 48) and picture.getpixel((3, 3)) == (255, 0, 0)
    for outside in ("../secret.png", str(tmp_path / "secret.png")):
        assert thumbnail(outside, folder).startswith("outside the table's folder")
    (folder / "bad.png").write_bytes(b"no picture")
    assert thumbnail("bad.png", folder) == "no readable picture: bad.png"
    Image.new("1", (8000, 8000)).save(folder / "large.png")
    assert "too large to show" in thumbnail("large.png", folder)


def test_values_are_shown_in_a_few_inert_words() -> None:
    assert visible("a\u202eb\u0000c\nd") == "a\ufffdb\ufffdc\nd"
    assert len(visible("x" * 10_000_000)) == 160
    assert shown(b"12345") == shown({"bytes": b"12345"}) == "5 bytes"
    columns, rows = preview_rows(found({"b": ["1"] * 9, "a": ["2"] * 9}), {"a": "label"})
    assert [column.title for column in columns] == ["a (label)", "b"]
    assert [row.cells for row in rows] == [{"0": "2", "1": "1"}] * 4


def test_a_projects_name_becomes_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEFIX_PROJECTS", str(tmp_path))
    assert project_directory(" mine ") == tmp_path / "mine"
    assert project_directory("/else/where/../mine") == Path("/else/mine")
    assert suggested_name(Path("/x/my films/output/checkpoint-10")) == "my-films"
    (tmp_path / "task").mkdir()
    assert suggested_name(Path("/x/films/task.py")) == "films"
    assert suggested_name(Path("/task/checkpoint/task.py")) == "task-2"


def test_whether_a_project_can_be_written(tmp_path: Path) -> None:
    assert writing_refused(tmp_path / "new" / "project") is None
    (tmp_path / "file").write_text("")
    sentence = writing_refused(tmp_path / "file" / "project")
    assert sentence is not None and "is a file" in sentence
