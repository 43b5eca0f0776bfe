"""`tracefix new`: what it records of a user's own model, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from attribution.projects import Project, TaskSource, TransformersSource
from dashboard.locations import recent_projects
from dashboard.new_project import Table, from_tables
from tests.command_line import CommandLine

GOOD = """
import torch
from attribution import Task

def build():
    torch.manual_seed(0)
    x = torch.randn(30, 3)
    data = torch.utils.data.TensorDataset(x, (x[:, 0] > 0).long())
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    return Task(model=model, train=data, test=data, class_names=["no", "yes"])

def wrong_type():
    return {"model": None}

def fails():
    raise RuntimeError("no such weights")
"""


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    """A task file with one good function and two bad ones."""
    file = tmp_path / "my_task.py"
    file.write_text(GOOD)
    return file


def test_a_task_file_becomes_a_project(tracefix: CommandLine, task_file: Path, tmp_path: Path) -> None:
    outcome = tracefix("new", tmp_path / "mine", "--task", f"{task_file}:build")
    assert outcome.status == 0, outcome.err
    assert "tracefix prepare" in outcome.out
    project = Project.open(tmp_path / "mine")
    assert (project.name, project.prepared) == ("mine", False)
    assert project.manifest.source == TaskSource(file=str(task_file), function="build")
    assert recent_projects()[0].directory == project.directory


def test_a_task_file_inside_the_project_is_recorded_relatively(
    tracefix: CommandLine, task_file: Path
) -> None:
    """So that the whole directory can be moved."""
    assert tracefix("new", task_file.parent, "--task", f"{task_file}:build").status == 0
    assert Project.open(task_file.parent).manifest.source == TaskSource(file="my_task.py", function="build")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("missing", "no function 'missing'"),
        ("wrong_type", "must return an attribution.Task"),
        ("fails", "no such weights"),
    ],
)
def test_a_task_function_that_does_not_give_a_task(
    tracefix: CommandLine, task_file: Path, tmp_path: Path, function: str, reason: str
) -> None:
    assert reason in tracefix.refused("new", tmp_path / "mine", "--task", f"{task_file}:{function}")
    assert not (tmp_path / "mine").exists(), "nothing is recorded of what does not load"


def test_a_task_file_with_a_syntax_error_names_the_line(tracefix: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import torch\n\ndef build(:\n")
    assert "line 3" in tracefix.refused("new", tmp_path / "mine", "--task", f"{tmp_path}/broken.py:build")


def test_a_task_file_that_fails_on_import(tracefix: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "needy.py").write_text("import a_package_nobody_has\ndef build(): ...\n")
    sentence = tracefix.refused("new", tmp_path / "mine", "--task", f"{tmp_path}/needy.py:build")
    assert "a_package_nobody_has" in sentence


def test_missing_files_and_an_existing_project(
    tracefix: CommandLine, task_file: Path, own_digits: Project
) -> None:
    task = f"{task_file}:build"
    assert "no file" in tracefix.refused("new", "mine", "--task", "nowhere.py:build")
    assert "already is a project" in tracefix.refused("new", own_digits.directory, "--task", task)
    assert "is a file" in tracefix.refused("new", task_file, "--task", task)


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Path]:
    """A model folder by name only, and a table for each split."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "train.csv").write_text("id,text,label\na,good,1\nb,bad,0\n")
    (tmp_path / "test.csv").write_text("id,text,label\nc,fine,1\n")
    return {"model": tmp_path / "model", "train": tmp_path / "train.csv", "test": tmp_path / "test.csv"}


def test_tables_are_recorded_with_their_columns(tables: dict[str, Path], tmp_path: Path) -> None:
    source = from_tables(tmp_path / "p", *tables.values(), Table(id="id"), None).source
    assert isinstance(source, TransformersSource)
    assert (source.text_column, source.image_column, source.label_column) == ("text", None, "label")
    assert source.id_column == "id"
    assert source.train == str(tables["train"])
    assert source.pair_column is None
    pairs = from_tables(tmp_path / "p", *tables.values(), Table(text="text", pair="id"), None).source
    assert isinstance(pairs, TransformersSource)
    assert (pairs.text_column, pairs.pair_column) == ("text", "id")


def test_a_table_is_read_as_it_is_written(
    tracefix: CommandLine, tables: dict[str, Path], tmp_path: Path
) -> None:
    """Semicolons, a byte-order mark, and capital letters in the suffix."""
    german = tmp_path / "german.CSV"
    german.write_text("\ufeffid;sentence;label\n1;gut, sehr gut;1\n", encoding="utf-8")
    given = {**tables, "train": german, "test": german}
    source = from_tables(tmp_path / "p", *given.values(), Table(id="id"), None).source
    assert isinstance(source, TransformersSource)
    assert (source.text_column, source.id_column) == ("sentence", "id")
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    options = [part for name, path in tables.items() for part in (f"--{name}", path)]
    said = tracefix.refused("new", tmp_path / "p", *options, "--test", folder)
    assert f"give one of them, for example {folder}/train" in said


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        (["--label", "stars"], 1, "no column 'stars'"),
        (["--text", "review"], 1, "no column 'review'"),
        (["--id", "key"], 1, "no column 'key'"),
        (["--text", "text", "--image", "text"], 2, "exclude each other"),
        (["--image", "text", "--pair", "text"], 2, "second part of a text"),
        (["--text", "text", "--pair", "text"], 2, "both name 'text'"),
        (["--pair", "hypothesis"], 1, "no column 'hypothesis'"),
        (["--checkpoints", "/nowhere/*"], 1, "matches --checkpoints"),
        (["--train", "/nowhere/train.csv"], 1, "no file"),
        (["--model", "/nowhere"], 1, "no folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_tables_are_refused(
    tracefix: CommandLine,
    tables: dict[str, Path],
    tmp_path: Path,
    options: list[str],
    status: int,
    reason: str,
) -> None:
    given = [part for name, path in tables.items() for part in (f"--{name}", path)]
    assert reason in tracefix.refused("new", tmp_path / "p", *given, *options, status=status)
    assert not (tmp_path / "p").exists()


def test_an_unclear_input_column_has_to_be_named(
    tracefix: CommandLine, tables: dict[str, Path], tmp_path: Path
) -> None:
    tables["train"].write_text("words,label\ngood,1\n")
    given = [part for name, path in tables.items() for part in (f"--{name}", path)]
    assert "--text" in tracefix.refused("new", tmp_path / "p", *given, status=2)


def test_checkpoints_are_read_in_order_with_their_learning_rates(
    tables: dict[str, Path], tmp_path: Path
) -> None:
    """Step from the folder's name, learning rate from what the Trainer logged of the run."""
    log = [
        {"step": 50, "learning_rate": 0.1},
        {"step": 100, "learning_rate": 0.05},
        {"step": 100, "eval_loss": 1.0},
    ]
    for step in (100, 50, 20):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
        if step != 20:
            (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": log}))
    manifest = from_tables(tmp_path / "p", *tables.values(), Table(), str(tmp_path / "checkpoint-*"))
    assert [(c.step, c.learning_rate) for c in manifest.checkpoints] == [(20, 0.1), (50, 0.1), (100, 0.05)]


def test_the_model_must_load(tracefix: CommandLine, tables: dict[str, Path], tmp_path: Path) -> None:
    given = [part for name, path in tables.items() for part in (f"--{name}", path)]
    assert "config.json is not one of transformers'" in tracefix.refused("new", tmp_path / "p", *given)
