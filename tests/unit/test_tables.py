"""Reading tables: nothing is lost, nothing changed, and damage is named by its row."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from attribution.errors import ProjectError
from attribution.projects import TransformersSource
from attribution.sources.tables import open_table, read_table
from attribution.sources.tables.kept_column import KeptColumn
from attribution.sources.text_rows import text_rows
from tests.unit.written_tables import delimited, json_lines, saved_dataset, write

NAMES = ["t.csv", "t.tsv", "t.jsonl", "t.parquet", "t.csv.gz", "t.jsonl.gz", "t.parquet.gz", "folder"]

TRICKY = [
    "", " ", "NA", "null", "None", "nan", "007", "1.0", "TRUE", "=1+1", "a,b;c\td|e", 'say "hi"', '"', "'", "\n",
    "a\r\nb", "\r", "\u2028", "\ufeff", "שלום", "\u202eabc", "\x07", "<b>", "**x**", "\\", "ÿ", "𝒳", "é", "#",
    " lead", "trail ",
]  # fmt: skip
"""Texts that readers like to turn into something else."""

characters = some.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = some.sampled_from(TRICKY) | some.text(characters, max_size=20)


def columns_read(file: Path, size: int = 3) -> dict[str, list[Any]]:
    """All columns of a table, read in small batches."""
    table = open_table(file)
    found: dict[str, list[Any]] = {name: [] for name in table.columns}
    for part in table.batches(size=size):
        assert all(0 < len(values) <= size for values in part.values())
        for name, values in part.items():
            found[name] += values
    assert table.count() == len(next(iter(found.values())))
    return found


@settings(deadline=None)
@given(
    rows=some.lists(some.tuples(texts, texts, some.sampled_from(["a", "b"])), min_size=1, max_size=8),
    name=some.sampled_from(NAMES),
)
def test_every_text_label_and_id_comes_back_in_order(rows: list[tuple[str, str, str]], name: str) -> None:
    columns = {
        "id": [row[0] for row in rows],
        "text": [row[1] for row in rows],
        "label": [row[2] for row in rows],
    }
    with tempfile.TemporaryDirectory() as directory:
        assert columns_read(write(Path(directory), name, columns)) == columns


@settings(deadline=None)
@given(
    rows=some.lists(some.tuples(texts, texts, texts), min_size=1, max_size=8), name=some.sampled_from(NAMES)
)
def test_text_rows_are_those_of_the_table(rows: list[tuple[str, str, str]], name: str) -> None:
    """What goes to the tokenizer: pairs, ids and further columns side by side, whatever the batches."""
    columns = {
        "premise": [row[0] for row in rows],
        "hypothesis": [row[1] for row in rows],
        "key": [f"0{number}" for number in range(len(rows))],
        "label": [0] * len(rows),
        "more": [row[2] for row in rows],
    }
    source = TransformersSource(
        model="m", train="t", test="t", text_column="premise", pair_column="hypothesis", id_column="key"
    )
    with tempfile.TemporaryDirectory() as directory:
        table = open_table(write(Path(directory), name, columns))
        found = list(text_rows(table, source, rest=True))
    assert [text for part in found for text in part.texts] == columns["premise"]
    assert [pair for part in found for pair in part.pairs or []] == columns["hypothesis"]
    assert [key for part in found for key in part.ids or []] == columns["key"]
    assert [value for part in found for value in part.rest["more"]] == columns["more"]


@settings(deadline=None)
@given(
    some.lists(some.none() | some.integers(-9, 9) | some.floats(allow_nan=False) | texts, max_size=30),
    some.data(),
)
def test_a_kept_column_holds_what_it_was_given(values: list[Any], data: some.DataObject) -> None:
    """Numbers stay numbers; where there is a text among them, all are text."""
    cuts = sorted(data.draw(some.lists(some.integers(0, len(values)), max_size=3)))
    kept = KeptColumn()
    for start, end in zip([0, *cuts], [*cuts, len(values)], strict=True):
        kept.extend(values[start:end])
    textual = any(isinstance(value, str) for value in values)
    expected = [value if value is None or not textual else str(value) for value in values]
    assert list(kept) == expected and len(kept) == len(values)
    assert [kept[number] for number in range(len(kept))] == expected
    assert kept[1:3] == expected[1:3]


@pytest.mark.parametrize(
    ("encoding", "noted"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", None),
        ("utf-16-be", "no byte-order mark"),
        ("utf-16-le", "no byte-order mark"),
        ("utf-32", None),
        ("cp1252", "Windows-1252"),
        ("latin-1", "Windows-1252"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".csv.gz"])
def test_encodings_are_found_out(tmp_path: Path, encoding: str, noted: str | None, suffix: str) -> None:
    columns = {"text": ["café crème", "naïve, très", "plain words"], "label": ["1", "0", "1"]}
    text = (delimited(columns) if "csv" in suffix else json_lines(columns)).decode()
    if "jsonl" in suffix:
        text = "".join(json.dumps(json.loads(line), ensure_ascii=False) + "\n" for line in text.splitlines())
    content = text.encode(encoding)
    (tmp_path / f"t{suffix}").write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    assert columns_read(tmp_path / f"t{suffix}") == columns
    notes = open_table(tmp_path / f"t{suffix}").notes
    assert (noted is None and notes == []) or (noted is not None and noted in notes[0])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param(
            "text,label\ncafé,1\nnaïve,0\n".encode() + b"cut \xe9,1\n", 4, id="one bad byte in UTF-8"
        ),
        pytest.param("text,label\nпривет как дела,1\n".encode("cp1251"), 2, id="Cyrillic"),
        pytest.param("text,label\nこんにちは世界,1\n".encode("shift-jis"), 2, id="Japanese"),
        pytest.param(b"text,label\nx,0\n\xff\xd8\x81\x8d,1\n", 3, id="no text at all"),
        pytest.param(("text,label\n" + "x,0\n" * 400_000).encode() + b"\x81,1\n", 400_002, id="far down"),
    ],
)
def test_what_cannot_be_decoded_is_refused_with_its_line(tmp_path: Path, content: bytes, line: int) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ProjectError, match=rf"line {line} is not UTF-8.*save the file as UTF-8"):
        open_table(tmp_path / "t.csv")


@pytest.mark.parametrize("separator", [",", ";", "|", "\t"])
def test_the_separator_of_a_csv_is_found_out(tmp_path: Path, separator: str) -> None:
    columns = {"text": ["one, two; three", "a | b", "a\nb", "x"], "label": ["1", "0", "1", "0"]}
    (tmp_path / "t.csv").write_bytes(delimited(columns, separator))
    assert columns_read(tmp_path / "t.csv") == columns


def test_a_separator_within_texts_does_not_mislead(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text;label\na, b, c;0\nd;1\n")
    assert columns_read(tmp_path / "t.csv") == {"text": ["a, b, c", "d"], "label": ["0", "1"]}


@pytest.mark.parametrize("parts", [1, 3])
def test_a_saved_dataset_is_read_with_its_class_names(tmp_path: Path, parts: int) -> None:
    columns = {"text": [f"text {number}" for number in range(7)], "label": [0, 1, 1, 0, 2, 2, 1]}
    folder = saved_dataset(tmp_path / "d", columns, class_names={"label": ["x", "y", "z"]}, parts=parts)
    assert columns_read(folder) == columns
    for file in (folder, folder / f"data-00000-of-{parts:05}.arrow"):
        assert open_table(file).class_names("label") == ["x", "y", "z"]
        assert open_table(file).class_names("text") is None


def test_the_class_names_of_a_parquet_of_datasets_are_known(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["a"], "label": [1]})
    info = {"info": {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}}
    pyarrow.parquet.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps(info)}), tmp_path / "t.parquet"
    )
    assert open_table(tmp_path / "t.parquet").class_names("label") == ["no", "yes"]


def test_values_keep_the_types_of_their_format(tmp_path: Path) -> None:
    columns = {"id": [7, 8], "text": ["a", "b"], "label": [True, False], "score": [0.5, None]}
    for name in ("t.parquet", "t.jsonl"):
        assert columns_read(write(tmp_path, name, columns)) == columns
        assert read_table(tmp_path / name).to_dict("list") == columns
    (tmp_path / "t.csv").write_text("id,text,label\n007,1.0,NA\n")
    assert columns_read(tmp_path / "t.csv") == {"id": ["007"], "text": ["1.0"], "label": ["NA"]}


def test_ids_of_numbers_are_their_digits(tmp_path: Path) -> None:
    source = TransformersSource(model="m", train="t", test="t", text_column="text", id_column="id")
    columns = {"id": [10, 9], "text": [3, 4.5], "label": [0, 0]}
    (rows,) = text_rows(open_table(write(tmp_path, "t.parquet", columns)), source)
    assert (rows.ids, rows.texts) == (["10", "9"], ["3.0", "4.5"])


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_a_batch_of_long_texts_has_few_rows(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two thousand books at once would not fit in memory."""
    for module in ("table", "columnar"):
        monkeypatch.setattr(f"attribution.sources.tables.{module}.BATCH_CHARACTERS", 100_000)
    texts = [f"{number:02}" * 4_500 for number in range(40)]
    table = open_table(write(tmp_path, name, {"text": texts, "label": [0] * 40}))
    parts = [part["text"] for part in table.batches(["text"])]
    assert [text for part in parts for text in part] == texts
    assert max(sum(map(len, part)) for part in parts) < 120_000


LONG = "x" * 1_000_001

DAMAGED: dict[str, tuple[str, bytes | dict[str, list[Any]], str]] = {
    "no rows": ("t.csv", b"id,text,label\n", "has no rows"),
    "empty": ("t.csv", b"", "is empty"),
    "an open quote": ("t.csv", b'id,text,label\n1,a,0\n2,"b,0\n3,c,0\n', r"row 2 .*quote that is never closed"),
    "a stray quote": ("t.csv", b'id,text,label\n1,"a "b" c",0\n', "row 1 .*not well formed"),
    "a long field": ("t.csv", f'id,text,label\n1,a,0\n2,{LONG},0\n'.encode(), "row 2 .*million characters"),
    "a separator too many": ("t.csv", b"id,text,label\n1,a,0\n2,b,c,0\n", r"row 2 \(line 3\) has 4 fields.*commas"),
    "a field too few": ("t.tsv", b"id\ttext\tlabel\n1\ta\t0\n2\n", r"row 2 \(line 3\) has 1 fields"),
    "two columns of a name": ("t.csv", b"text,label,text\na,0,b\n", "two columns 'text'"),
    "a text as header": ("t.csv", b"," * 20_000 + b"\n", "more than 10,000 columns"),
    "keys for rows": ("t.jsonl", json.dumps({str(n): 0 for n in range(10_001)}).encode(), "more than 10,000 columns"),
    "NUL": ("t.csv", b"id,text,label\n1,a,0\n2,b\0c,0\n", "row 2 holds a NUL character in column 'text'"),
    "a column missing": ("t.csv", b"id,sentence,label\n1,a,0\n", "no column 'text': its columns are 'id', 'sentence'"),
    "no object": ("t.jsonl", b'{"text": "a", "label": 0, "id": 1}\n[1]\n', "line 2 is not a JSON object"),
    "bad JSON": ("t.jsonl", b'{"text": "a", "label": 0, "id": 1}\n{"text"\n', "line 2 is not a JSON object"),
    "deep JSON": ("t.jsonl", b"[" * 100_000 + b"\n", "holds a JSON array"),
    "a JSON array": ("t.json", b'[{"text": "a", "label": 0}]', "JSON array: write one object a line"),
    "half a pair": ("t.jsonl", b'{"id": 1, "text": "\\ud800", "label": 0}\n', "row 1 holds half a surrogate pair"),
    "a long text": ("t.parquet", {"id": [1], "text": [LONG], "label": [0]}, "row 1 holds a text of 1,000,001"),
    "a list": ("t.parquet", {"id": [1], "text": [["a"]], "label": [0]}, "row 1 holds a list in column 'text'"),
    "bytes": ("t.parquet", {"id": [1], "text": [b"\xff"], "label": [0]}, "row 1 holds bytes that are no text"),
    "no id": ("t.parquet", {"id": ["a", None], "text": ["a", "b"], "label": [0, 0]}, "row 2 has no id"),
    "no Parquet": ("t.parquet", b"PAR1 and then something else", "cannot be read as a table"),
    "no gzip": ("t.csv.gz", b"\x1f\x8b and then something else", "cannot be read as a table"),
    "cut gzip": ("t.csv.gz", gzip.compress(b"id,text,label\n" + b"1,a,0\n" * 999)[:40], "cannot be read as a table"),
    "another kind": ("t.xlsx", b"PK", "is not a CSV, TSV, JSON Lines or Parquet file"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_named(tmp_path: Path, case: str) -> None:
    name, content, sentence = DAMAGED[case]
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        write(tmp_path, name, content)
    source = TransformersSource(model="m", train="t", test="t", text_column="text", id_column="id")
    with pytest.raises(ProjectError, match=sentence) as caught:
        list(text_rows(open_table(tmp_path / name), source))
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_a_damaged_dataset_is_named(tmp_path: Path) -> None:
    folder = saved_dataset(tmp_path / "d", {"text": ["a"], "label": [0]})
    state = json.loads((folder / "state.json").read_text())

    def refused(sentence: str, **changed: object) -> None:
        (folder / "state.json").write_text(json.dumps(state | changed))
        with pytest.raises(ProjectError, match=sentence):
            open_table(folder)

    refused("names the file '../t.arrow', which is not in", _data_files=[{"filename": "../t.arrow"}])
    refused("names the file 'gone.arrow'", _data_files=[{"filename": "gone.arrow"}])
    refused("names no data files", _data_files=None)
    refused("an order of its own", _indices_data_files=[{"filename": "indices.arrow"}])
    (folder / "state.json").write_text("{")
    with pytest.raises(ProjectError, match=r"state\.json' is damaged"):
        open_table(folder)
    (folder / "state.json").unlink()
    with pytest.raises(ProjectError, match="nor a dataset saved with save_to_disk"):
        open_table(folder)
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(ProjectError, match=r"holds the splits 'train', 'test': give one.*d/train"):
        open_table(folder)
