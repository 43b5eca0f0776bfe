"""The check before work starts: planted faults are found with their exact counts, and sound data give no alarm."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import nn

from attribution import Task
from attribution.checking import CheckReport, check_project
from attribution.checking.duplicates import near_digest, repeated, shared
from attribution.checking.fit import exchanges, kappa
from attribution.projects import Manifest, Project, TransformersSource, create_project
from tests.command_line import CommandLine
from tests.unit.built_projects import project_of
from tests.unit.tiny_models import Pairs, settled, small_bert, word_tokenizer

CLASSES = 3


class Telling(nn.Module):
    """A model for three classes that are told by the first number of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, CLASSES)
        with torch.no_grad():
            self.layer.weight.zero_()
            self.layer.weight[:, 0] = torch.tensor([-8.0, 0.0, 8.0])
            self.layer.bias.copy_(torch.tensor([0.0, 3.0, 0.0]))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layer(inputs)


def told(count: int, seed: int) -> tuple[torch.Tensor, list[int]]:
    """Inputs of `Telling`, all different, and their classes in turn."""
    labels = [position % CLASSES for position in range(count)]
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    inputs[:, 0] = torch.tensor(labels) - 1.0
    return inputs, labels


def told_task(relabelled: Callable[[int], int] = lambda label: label, **more: Any) -> Task:
    """A task that `Telling` solves, but for the labels."""
    (train, train_labels), (test, test_labels) = told(240, 0), told(60, 1)
    return Task(
        Telling(),
        Pairs(train, [relabelled(label) for label in train_labels]),
        Pairs(test, [relabelled(label) for label in test_labels]),
        class_names=["low", "middle", "high"],
        **more,
    )


def checked(tmp_path: Path, build: Callable[[], Task]) -> CheckReport:
    return check_project(project_of(tmp_path / "project", build), device="cpu")


def severities(report: CheckReport) -> dict[str, str]:
    return {finding.name: finding.severity for finding in report.findings}


def test_sound_data_raise_no_alarm(tmp_path: Path) -> None:
    report = checked(tmp_path, told_task)
    assert not report.doubts and report.verdict == "Everything fits."
    sizes, train = report.named("sizes"), report.named("train accuracy")
    assert sizes.numbers == {"train": 240, "test": 60, "classes": 3}
    assert train.numbers["accuracy"] == 1.0 and train.numbers["sample"] == 240
    assert report.named("parameters").numbers == {"parameters": 15, "trained": 15}
    assert report.named("methods").numbers["default"] == "ekfac"
    assert "tracin" in report.named("methods").numbers["missing"]
    assert report.named("preparing").numbers["bytes"] == 240 * 15 * 4, "whole gradients in float32"


@pytest.mark.parametrize("order", [order for order in permutations(range(CLASSES)) if order != (0, 1, 2)])
def test_exchanged_labels_are_named(tmp_path: Path, order: tuple[int, ...]) -> None:
    report = checked(tmp_path, lambda: told_task(order.__getitem__))
    found = report.named("label order")
    assert found.severity == "problem"
    circles = [set(circle["labels"]) for circle in found.numbers["exchanged"]]
    names = ["low", "middle", "high"]
    assert circles == [{names[i] for i in range(CLASSES) if order[i] != i}]
    (circle,) = found.numbers["exchanged"]
    predicted = {names[order[i]]: names[i] for i in range(CLASSES)}
    following = dict(zip(circle["labels"], [*circle["labels"][1:], circle["labels"][0]], strict=True))
    assert following == {name: predicted[name] for name in circle["labels"]}
    assert (circle["before"], circle["after"]) == (0, circle["examples"])


def test_a_model_that_knows_nothing_is_a_problem(tmp_path: Path) -> None:
    def build() -> Task:
        drawn = iter(torch.randint(3, (300,), generator=torch.Generator().manual_seed(0)).tolist())
        return told_task(lambda label: next(drawn))

    report = checked(tmp_path, build)
    assert report.named("train accuracy").severity == "problem"
    assert "no better than guessing" in report.named("train accuracy").sentence
    assert report.named("label order").severity == "ok", "no order of random labels is better"


def test_planted_copies_are_counted(tmp_path: Path) -> None:
    """7 copies in training, 2 of them with other labels; 4 training examples in the test data."""

    def build() -> Task:
        task = told_task(train_ids=[f"t{n}" for n in range(240)], test_ids=[f"e{n}" for n in range(60)])
        train, test = task.train, task.test
        assert isinstance(train, Pairs) and isinstance(test, Pairs)
        for copy in range(7):
            train.inputs[100 + copy] = train.inputs[0 if copy < 4 else 10]
            train.labels[100 + copy] = train.labels[0 if copy < 4 else 10]
        train.labels[101] = 2
        train.labels[106] = 0
        for place, source in ((5, 30), (6, 31), (7, 32), (8, 32)):
            test.inputs[place] = train.inputs[source]
        return task

    report = checked(tmp_path, build)
    within, conflicts, leaked = (
        report.named(name) for name in ("duplicates", "conflicting labels", "leakage")
    )
    assert (within.numbers["copies"], within.numbers["groups"], within.severity) == (7, 2, "note")
    assert within.numbers["first"] == [["t0", "t100"], ["t0", "t101"], ["t0", "t102"]]
    assert (conflicts.numbers["groups"], conflicts.numbers["examples"]) == (2, 9)
    assert conflicts.numbers["first"] == ["t0", "t10", "t100"] and conflicts.severity == "warning"
    assert leaked.numbers["test_examples"] == 4 and leaked.severity == "warning"
    assert leaked.numbers["first"][:2] == [{"test": "e5", "train": "t30"}, {"test": "e6", "train": "t31"}]


def test_missing_and_rare_classes(tmp_path: Path) -> None:
    def without(train: int | None, test: int | None) -> Callable[[], Task]:
        def build() -> Task:
            task = told_task()
            for split, lacking in (("train", train), ("test", test)):
                data = task.dataset(split)
                assert isinstance(data, Pairs)
                keep = [n for n, label in enumerate(data.labels) if label != lacking]
                kept = Pairs(data.inputs[keep], [data.labels[n] for n in keep])
                task = replace(task, **{split: kept, f"{split}_ids": None})
            return task

        return build

    unlearned = checked(tmp_path / "a", without(train=2, test=None)).named("balance")
    assert unlearned.severity == "warning" and unlearned.numbers["missing_in_train"] == ["high"]
    untested = checked(tmp_path / "b", without(train=None, test=1)).named("balance")
    assert untested.severity == "note" and untested.numbers["missing_in_test"] == ["middle"]
    neither = checked(tmp_path / "c", without(train=0, test=0)).named("balance")
    assert neither.severity == "warning" and "'low'" in neither.sentence

    def rare() -> Task:
        inputs, labels = told(240, 0)
        rows = [*range(2, 240, 3)] * 2 + [0, 1]
        data = Pairs(inputs[rows], [labels[row] for row in rows])
        return replace(told_task(), train=data, train_ids=None)

    found = checked(tmp_path / "d", rare).named("balance")
    assert found.severity == "warning" and found.numbers["ratio"] == 160
    assert found.numbers["train"] == {"low": 1, "middle": 1, "high": 160}


def test_checkpoints_of_another_model_are_a_problem(tmp_path: Path) -> None:
    from attribution import Checkpoint

    other = {"layer.weight": torch.zeros(3, 5)}
    report = checked(tmp_path, lambda: told_task(checkpoints=[Checkpoint(other, 0.1, 7)]))
    found = report.named("checkpoints")
    assert found.severity == "problem" and "step 7" in found.sentence and "(3, 5)" in found.sentence
    fitting = told_task().model.state_dict()
    sound = checked(tmp_path / "b", lambda: told_task(checkpoints=[Checkpoint(fitting, 0.1, 7)]))
    assert sound.named("checkpoints").severity == "ok"
    assert "tracin" in sound.named("methods").numbers["available"]


# -- tables of texts --------------------------------------------------------------------------------------------


def table_project(directory: Path, train: pd.DataFrame, test: pd.DataFrame, **source: Any) -> Project:
    """A project of a BERT of random weights and two tables."""
    torch.manual_seed(0)
    settled(small_bert()).save_pretrained(directory / "model")
    word_tokenizer().save_pretrained(directory / "model")
    train.to_csv(directory / "train.csv", index=False)
    test.to_csv(directory / "test.csv", index=False)
    described = TransformersSource(
        model="model", train="train.csv", test="test.csv", text_column="text", **source
    )
    return create_project(directory, Manifest(name="texts", title="Texts", source=described))


def sentences(count: int, prefix: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "key": [f"{prefix}{number}" for number in range(count)],
            "text": [f"good film {prefix}{number}" for number in range(count)],
            "label": [number % 3 for number in range(count)],
        }
    )


def test_what_is_planted_in_tables_of_texts_is_counted(tmp_path: Path) -> None:
    train, test = sentences(60, "a"), sentences(20, "b")
    train.loc[40:42, "text"] = train.loc[0, "text"]
    train.loc[43, "text"] = "Good  FILM, a1!"
    train.loc[[50, 51, 52], "text"] = [f"very good film number {n} with more words" for n in range(3)]
    test.loc[4, "text"] = train.loc[7, "text"]
    test.loc[5, "text"] = "good film: A8"
    test.loc[6, "text"] = "a very very long film that nobody has seen"
    report = check_project(table_project(tmp_path, train, test, id_column="key", max_tokens=5), device="cpu")
    lengths = report.named("lengths").numbers
    assert lengths["train"] == {"longer": 3, "looked_at": 60, "first": "a50"}
    assert lengths["test"] == {"longer": 1, "looked_at": 20, "first": "b6"}
    assert (lengths["limit"], lengths["longest"]) == (5, 9)
    within = report.named("duplicates").numbers
    assert (within["copies"], within["groups"], within["first"][0]) == (3, 1, ["a0", "a40"])
    assert (within["near"], within["first_near"]) == (1, ["a43"])
    assert report.named("conflicting labels").numbers == {
        "groups": 1,
        "examples": 4,
        "first": ["a0", "a40", "a41"],
    }
    leaked = report.named("leakage").numbers
    assert (leaked["test_examples"], leaked["first"]) == (1, [{"test": "b4", "train": "a7"}])
    assert (leaked["near"], leaked["first_near"]) == (1, ["b5"])
    assert report.named("labels").numbers["labels"] == {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}


@pytest.mark.slow
def test_memory_grows_by_little_with_the_rows(tmp_path: Path) -> None:
    """A table loaded whole takes hundreds of bytes a row; streamed, the labels and digests of it stay.

    The kernel's high-water mark of the process's own memory, as ``ru_maxrss`` would begin with that of its parent.
    """
    import subprocess
    import sys

    program = (
        "import sys\n"
        "from attribution.checking import check_project\n"
        "from attribution.projects import Project\n"
        "check_project(Project.open(sys.argv[1]), device='cpu')\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    peaks = {}
    for rows in (4_000, 40_000):
        folder = tmp_path / str(rows)
        table = sentences(rows, "a" * 2_000).drop(columns="key")  # 80 MB of text
        table_project(folder, table.head(10), sentences(10, "b"))
        table.to_parquet(folder / "train.parquet")
        manifest = json.loads((folder / "project.json").read_text())
        manifest["source"]["train"] = "train.parquet"
        (folder / "project.json").write_text(json.dumps(manifest))
        ran = subprocess.run(
            [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True
        )
        peaks[rows] = int(ran.stdout.split()[-1]) / 1024
    assert peaks[40_000] - peaks[4_000] < 40, peaks


# -- the command ------------------------------------------------------------------------------------------------


def test_the_command_says_it_in_words_and_json(tracefix: CommandLine, tmp_path: Path) -> None:
    sound = project_of(tmp_path / "sound", told_task)
    outcome = tracefix("check", sound.directory)
    assert outcome.status == 0 and "Everything fits." in outcome.out and "train accuracy" in outcome.out
    outcome = tracefix("check", sound.directory, "--json")
    document = json.loads(outcome.out)
    assert outcome.status == 0 and set(document) == {"project", "problems", "warnings", "findings"}
    for finding in document["findings"]:
        assert set(finding) == {"name", "severity", "sentence", "remedy", "numbers"}
        assert finding["severity"] in ("ok", "note", "warning", "problem")
    assert not sound.prepared and not sound.prepared_directory.exists(), "nothing is written"

    swapped = project_of(tmp_path / "swapped", lambda: told_task((1, 0, 2).__getitem__))
    outcome = tracefix("check", swapped.directory, "--json")
    assert outcome.status == 1 and json.loads(outcome.out)["problems"] >= 1
    outcome = tracefix("check", swapped.directory)
    assert outcome.status == 1 and "Labels look exchanged" in " ".join(outcome.out.split())


def test_new_says_what_a_sample_tells(tracefix: CommandLine, tmp_path: Path) -> None:
    for name, wanted in (("(0, 1, 2)", "everything fits"), ("(1, 0, 2)", "Problem: Labels look exchanged")):
        file = tmp_path / f"task{name[1]}.py"
        file.write_text(
            f"from tests.unit.test_checking import told_task\ndef build():\n    return told_task({name}.__getitem__)\n"
        )
        outcome = tracefix("new", tmp_path / f"project{name[1]}", "--task", f"{file}:build")
        assert outcome.status == 0 and wanted in outcome.out, outcome


# -- oracles of the parts ---------------------------------------------------------------------------------------


@given(
    some.lists(some.tuples(some.integers(0, 6), some.integers(0, 2)), min_size=1, max_size=30),
    some.lists(some.integers(0, 8), max_size=20),
)
def test_copies_are_those_a_dictionary_finds(train: list[tuple[int, int]], test: list[int]) -> None:
    digests = np.array([value for value, _ in train], dtype=np.uint64)
    found = repeated(digests, np.array([label for _, label in train]))
    groups: dict[int, list[int]] = {}
    for position, (value, _) in enumerate(train):
        groups.setdefault(value, []).append(position)
    assert found.copies.tolist() == sorted(p for members in groups.values() for p in members[1:])
    assert found.firsts.tolist() == [groups[train[p][0]][0] for p in found.copies]
    disputed = [m for m in groups.values() if len({train[p][1] for p in m}) > 1]
    assert found.conflicts == len(disputed)
    assert found.conflicting.tolist() == sorted(p for members in disputed for p in members)
    assert found.groups == sum(len(members) > 1 for members in groups.values())
    both = shared(digests, np.array(test, dtype=np.uint64))
    assert both.test.tolist() == [place for place, value in enumerate(test) if value in groups]
    assert both.train.tolist() == [groups[value][0] for value in test if value in groups]


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_no_order_of_random_predictions_is_believed(classes: int) -> None:
    for seed in range(200):
        random = np.random.default_rng(seed)
        counts = np.zeros((classes, classes), dtype=np.int64)
        np.add.at(counts, (random.integers(classes, size=100), random.integers(classes, size=100)), 1)
        assert exchanges(counts) == []


def test_texts_without_words_are_not_alike() -> None:
    assert near_digest(("Good  film!",)) == near_digest(("good film",)) != near_digest(("good films",))
    assert near_digest(("!!!",)) != near_digest(("???",))
    assert near_digest(("a", "b")) != near_digest(("a b", ""))


def test_kappa_is_scikit_learns() -> None:
    from sklearn.metrics import cohen_kappa_score

    random = np.random.default_rng(0)
    labels, predicted = random.integers(4, size=300), random.integers(4, size=300)
    predicted[:150] = labels[:150]
    counts = np.zeros((4, 4), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    assert kappa(counts) == pytest.approx(cohen_kappa_score(labels, predicted))
