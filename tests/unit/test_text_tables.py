"""A model and tables of texts, from `tracefix new` to an exported fix, in each format; and tables too large to load."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from attribution.errors import ProjectError
from attribution.projects import Manifest, Project, TransformersSource
from attribution.sources import load_task
from attribution.sources.examination import _Reservoir, examine
from attribution.sources.text_rows import TextRows
from tests.command_line import CommandLine
from tests.unit.tiny_models import WORDS, settled, word_tokenizer
from tests.unit.written_tables import saved_dataset, write

TRAIN, TEST = 36, 18
NAMES = ["contradiction", "entailment", "neutral"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a BERT with random weights that tells parts of a pair apart, and its tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=11,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=32,
        id2label=dict(enumerate(NAMES)),
        label2id={name: number for number, name in enumerate(NAMES)},
    )
    bert = settled(BertForSequenceClassification(config))
    with torch.no_grad():
        bert.classifier.weight.mul_(30)  # predictions that differ from one text to the next
    bert.save_pretrained(folder)
    names = ["input_ids", "token_type_ids", "attention_mask"]
    words = word_tokenizer().backend_tokenizer
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", model_input_names=names
    ).save_pretrained(folder)
    return folder


def sentences(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS[2:], random.integers(2, 7))) for _ in range(count)]


def columns(count: int, seed: int) -> dict[str, list[Any]]:
    """Premises, hypotheses, labels as names, and ids with leading zeros."""
    return {
        "key": [f"{number:04}" for number in reversed(range(count))],
        "premise": sentences(count, seed),
        "hypothesis": sentences(count, seed + 1),
        "label": [NAMES[(seed + number * number) % 3] for number in range(count)],
    }


def finished(tracefix: CommandLine, *arguments: str | Path) -> str:
    outcome = tracefix(*arguments)
    assert outcome.status == 0, outcome.err
    return outcome.out


@pytest.mark.parametrize(
    ("train", "test", "pair"),
    [
        ("train.csv", "test.tsv.gz", True),
        ("train.jsonl", "test.jsonl.gz", False),
        ("train.parquet", "test.csv", False),
        ("train", "test", True),
    ],
    ids=["csv pairs", "jsonl", "parquet", "saved dataset pairs"],
)
def test_from_new_to_an_exported_fix(
    tracefix: CommandLine, model: Path, tmp_path: Path, train: str, test: str, pair: bool
) -> None:
    """Ids, texts and classes are those of the tables at every step, and the export replays the fix."""
    given, asked = columns(TRAIN, 0), columns(TEST, 5)
    files = ["--train", write(tmp_path, train, given), "--test", write(tmp_path, test, asked)]
    named = ["--text", "premise", *(["--pair", "hypothesis"] if pair else []), "--id", "key"]
    project = tmp_path / "project"
    said = finished(tracefix, "new", project, "--model", model, *files, *named)
    counts = ", ".join(f"{given['label'].count(name)} {name}" for name in NAMES)
    assert f"{TRAIN} training examples: {counts}." in said

    def shown(table: dict[str, list[Any]], key: str) -> str:
        row = table["key"].index(key)
        premise, hypothesis = table["premise"][row], table["hypothesis"][row]
        return f"premise: {premise}\nhypothesis: {hypothesis}" if pair else premise

    finished(tracefix, "prepare", project)
    wrong = json.loads(finished(tracefix, "mispredictions", project, "--json"))
    assert wrong
    for row in wrong:
        place = asked["key"].index(row["id"])
        assert row["true"] == asked["label"][place] and row["input"] == shown(asked, row["id"])
    example = wrong[0]["id"]
    answer = json.loads(finished(tracefix, "explain", project, example, "--top", "4", "--json"))
    for row in (*answer["culprits"], *answer["helpers"]):
        assert row["label"] == given["label"][given["key"].index(row["id"])]
        assert row["input"] == shown(given, row["id"])
    fix = json.loads(finished(tracefix, "fix", project, example, "--top", "4", "--steps", "2", "--json"))
    finished(tracefix, "export", project, fix["fix_id"], "--output", tmp_path / "out")
    patched = BertForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        logits = patched(**inputs_of(asked, asked["key"].index(example), pair)).logits
    expected = [fix["after"]["probabilities"][name] for name in NAMES]
    assert logits.softmax(dim=1)[0].tolist() == pytest.approx(expected, abs=1e-5)


def inputs_of(table: dict[str, list[Any]], row: int, pair: bool) -> dict[str, torch.Tensor]:
    """A row as the tokenizer of transformers gives it to the model."""
    parts = [table["premise"][row], *([table["hypothesis"][row]] if pair else [])]
    found: dict[str, torch.Tensor] = word_tokenizer()(*parts, return_tensors="pt", return_token_type_ids=True)
    return found


def project_of(directory: Path, model: Path, train: Path, test: Path | None = None, **more: Any) -> Project:
    source = TransformersSource(
        model=str(model), train=str(train), test=str(test or train), **{"text_column": "premise", **more}
    )
    return Project(directory, Manifest(name="texts", title="Texts", source=source))


def test_a_saved_dataset_with_class_names_counts_its_own_way(model: Path, tmp_path: Path) -> None:
    table = columns(TRAIN, 0)
    order = ["neutral", "contradiction", "entailment"]
    numbered = table | {"label": [order.index(name) for name in table["label"]]}
    folder = saved_dataset(tmp_path / "train", numbered, class_names={"label": order}, parts=2)
    task = load_task(project_of(tmp_path, model, folder))
    assert [task.class_names[task.train[row][1]] for row in range(TRAIN)] == table["label"]


def test_pairs_are_tokenised_as_pairs(model: Path, tmp_path: Path) -> None:
    table = columns(5, 0)
    task = load_task(project_of(tmp_path, model, write(tmp_path, "t.jsonl", table), pair_column="hypothesis"))
    for row in range(5):
        expected = inputs_of(table, row, pair=True)
        found = task.train[row][0]
        assert {name: tensor.tolist() for name, tensor in found.items()} == {
            name: tensor[0].tolist() for name, tensor in expected.items()
        }
        second = len(table["hypothesis"][row].split())
        assert int(found["token_type_ids"].sum()) == second


def test_a_project_without_pairs_stays_prepared(model: Path, tmp_path: Path) -> None:
    """The digest of what a project is made of is that of before there were pairs."""
    plain = project_of(tmp_path, Path("model"), Path("t.csv"))
    assert plain.recipe() == "1135da625d03c2fc"
    assert project_of(tmp_path, Path("model"), Path("t.csv"), pair_column="b").recipe() != plain.recipe()


@pytest.fixture
def examined(model: Path, tmp_path: Path) -> tuple[Project, dict[str, list[Any]]]:
    """A project of pairs with an empty text and two equal rows."""
    table = columns(TRAIN, 0)
    table["hypothesis"][7] = " "
    for name in ("premise", "hypothesis"):
        table[name][20] = table[name][3]
    files = [write(tmp_path, "train.csv", table), write(tmp_path, "test.parquet", columns(TEST, 5))]
    return project_of(tmp_path, model, *files, pair_column="hypothesis", id_column="key"), table


def test_examining_finds_what_loading_would(examined: tuple[Project, dict[str, list[Any]]]) -> None:
    project, table = examined
    whole = load_task(project)
    found = examine(project, sample=10)
    facts = found.facts["train"]
    assert (facts.rows, found.facts["test"].rows) == (TRAIN, TEST)
    assert facts.class_counts == {name: table["label"].count(name) for name in NAMES}
    assert [NAMES[number] for number in facts.labels] == table["label"]
    assert (facts.empty_inputs, facts.first_empty) == (1, table["key"][7])
    pairs = list(zip(table["premise"], table["hypothesis"], strict=True))
    assert facts.digests is not None
    for row, digest in enumerate(facts.digests):
        assert [other == digest for other in facts.digests] == [pairs[row] == pair for pair in pairs]
    assert [(first["id"], first["label"]) for first in facts.first] == [
        *zip(table["key"][:4], table["label"][:4], strict=True)
    ]
    assert len(facts.sample) == 10 == found.task.size("train")
    for place, position in enumerate(facts.sample.positions):
        inputs, label = facts.sample.dataset[place]
        expected, expected_label = whole.train[int(position)]
        assert inputs.keys() == expected.keys() and label == expected_label
        assert all(torch.equal(inputs[name], expected[name]) for name in inputs)
        assert facts.sample.ids[place] == table["key"][position]
        assert whole.train_display is not None
        assert facts.sample.display[place] == whole.train_display[int(position)]


def test_samples_are_drawn_evenly(model: Path, tmp_path: Path) -> None:
    project = project_of(tmp_path, model, write(tmp_path, "t.csv", columns(TRAIN, 0)))
    assert examine(project, sample=TRAIN + 1).facts["train"].sample.positions.tolist() == list(range(TRAIN))
    drawn = np.zeros(TRAIN)
    for seed in range(300):
        reservoir = _Reservoir(9, seed)
        for start in range(0, TRAIN, 5):
            texts = [str(n) for n in range(start, min(start + 5, TRAIN))]
            reservoir.add(TextRows(start, texts, None, [0] * len(texts), None, {}))
        assert len(set(reservoir.positions.tolist())) == 9
        assert [text for text, _, _ in reservoir.rows] == [str(n) for n in reservoir.positions]
        drawn[reservoir.positions] += 1
    expected = 300 * 9 / TRAIN  # 75 times each, with a standard deviation of 7.5
    assert np.abs(drawn - expected).max() < 5 * np.sqrt(expected * (1 - 9 / TRAIN))


def test_what_would_fail_later_is_refused_when_examined(model: Path, tmp_path: Path) -> None:
    def refused(sentence: str, table: dict[str, list[Any]], **more: Any) -> None:
        project = project_of(tmp_path, model, write(tmp_path, "t.jsonl", table), **more)
        for look in (examine, load_task):
            with pytest.raises(ProjectError, match=sentence):
                look(project)

    table = columns(TRAIN, 0)
    refused(
        "the id 'b' in rows 2 and 30",
        table | {"key": ["a", "b", *map(str, range(27)), "b", *map(str, range(30, 36))]},
        id_column="key",
    )
    refused("row 36 has the label 'other'", table | {"label": [*table["label"][:-1], "other"]})
    refused("row 30 has no label", table | {"label": [*table["label"][:29], None, *table["label"][30:]]})
    refused(
        "row 3 has a text of which the tokenizer makes no token",
        table | {"premise": ["a", "b", "", *"c" * 33]},
    )
    refused("no column 'second'", table, pair_column="second")


def test_a_tokenizer_of_another_model_is_refused(model: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(model, tmp_path / "other"))
    small = BertForSequenceClassification.from_pretrained(model)
    small.resize_token_embeddings(4)
    small.save_pretrained(other)
    project = project_of(tmp_path, other, write(tmp_path, "t.csv", columns(TRAIN, 0)))
    for look in (examine, load_task):
        with pytest.raises(
            ProjectError, match=r"gives token \d for .*t\.csv' row \d+, and the model knows 4"
        ):
            look(project)


MEASURED = """
import sys
from pathlib import Path
from dashboard.cli import main
status = main(sys.argv[1:])
# The kernel's high-water mark: ``ru_maxrss`` would begin with that of the process that started this one.
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
sys.exit(status)
"""


@pytest.mark.slow
def test_a_million_rows_are_checked_within_a_gigabyte(model: Path, tmp_path: Path) -> None:
    rows, part = 1_000_000, 50_000
    texts = sentences(part, 0)
    train = tmp_path / "train.parquet"
    schema = pyarrow.schema(
        [("key", pyarrow.string()), ("premise", pyarrow.string()), ("label", pyarrow.int64())]
    )
    with pyarrow.parquet.ParquetWriter(train, schema) as writer:
        for start in range(0, rows, part):
            keys = [f"row-{number:07}" for number in range(start, start + part)]
            labels = np.arange(part) % 3
            writer.write_table(pyarrow.table([keys, texts, labels], schema=schema))
    test = write(tmp_path, "test.csv", columns(TEST, 5))
    arguments = [
        "new",
        tmp_path / "p",
        "--model",
        model,
        "--train",
        train,
        "--test",
        test,
        "--text",
        "premise",
    ]
    ran = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, arguments), "--id", "key"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    said, peak = ran.stdout.rstrip().rsplit("\n", 1)
    assert "1,000,000 training examples: 333,340 contradiction, 333,340 entailment, 333,320 neutral." in said
    assert int(peak) * 1024 < 1e9, f"{int(peak) / 1e6:.2f} GB"
