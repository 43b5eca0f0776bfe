"""An exported fix is the previewed one: the same probabilities elsewhere, the same edits, a command that repeats it."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from safetensors.torch import load_file

from attribution import Engine
from attribution.errors import Cancelled, ProjectError, UsageError
from attribution.fixing import EDITS_FILE, STRATEGIES, export_fix, read_edits, replay_command
from attribution.fixing.command import edit_rows
from attribution.progress import Reporter
from attribution.projects import Edit, FixRecord, Project
from tests.command_line import CommandLine


@pytest.fixture(scope="module")
def engine(prepared_digits: Project) -> Engine:
    return Engine(prepared_digits, device="cpu")


@pytest.fixture(scope="module")
def fix(engine: Engine) -> FixRecord:
    """A kept fix by one action for all its examples."""
    return kept(engine, engine.project.mispredictions()[-5]["id"], top=4)


@pytest.fixture(scope="module")
def mixed(engine: Engine) -> FixRecord:
    """A kept fix whose edits differ in action and label: strategy and ids do not say them."""
    train, names = engine.project.predictions("train"), engine.project.class_names
    wrong = engine.project.mispredictions()[-4]
    number = names.index(wrong["true"])
    own, other = (train.index[train["label"] == label] for label in (number, (number + 1) % len(names)))
    edits = [Edit(train_id=str(train_id), action="upweight") for train_id in own[:3]]
    edits.append(Edit(train_id=str(other[0]), action="relabel", label=names[(number + 2) % len(names)]))
    return kept(engine, wrong["id"], edits=edits)


def kept(engine: Engine, test_id: str, **choices: object) -> FixRecord:
    record = engine.fix(test_id, seed=3, **choices)  # type: ignore[arg-type]
    engine.project.history.save(record)
    return record


def test_weights_of_any_other_model_load_into_it(engine: Engine, fix: FixRecord, tmp_path: Path) -> None:
    export_fix(engine, fix.fix_id, tmp_path / "out")
    model = engine.replay(fix.fix_id).model
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in expected.items()})
    model.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"))
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("which", ["fix", "mixed"])
def test_a_replay_is_the_fix_bit_for_bit_and_leaves_the_model_alone(
    engine: Engine, which: str, request: pytest.FixtureRequest
) -> None:
    before = {name: tensor.clone() for name, tensor in engine.task.model.state_dict().items()}
    first, second = (engine.replay(request.getfixturevalue(which).fix_id) for _ in range(2))
    assert first.difference == second.difference == 0
    pairs = zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True)
    assert all(torch.equal(mine, other) for mine, other in pairs)
    assert all(torch.equal(before[name], tensor) for name, tensor in engine.task.model.state_dict().items())
    assert any(not torch.equal(before[name], t) for name, t in first.model.state_dict().items())


@pytest.mark.parametrize("which", ["fix", "mixed"])
def test_the_written_command_makes_the_same_fix(
    tracefix: CommandLine, engine: Engine, tmp_path: Path, which: str, request: pytest.FixtureRequest
) -> None:
    record: FixRecord = request.getfixturevalue(which)
    exported = export_fix(engine, record.fix_id, tmp_path / "out")
    assert exported.command in (tmp_path / "out" / "README.txt").read_text()
    assert ("--edits" in exported.command) == (which == "mixed")
    program, *arguments = shlex.split(exported.command)
    outcome = tracefix(*arguments, "--json")
    assert program == "tracefix" and outcome.status == 0, outcome.err
    again = json.loads(outcome.out)
    for key in (
        "before",
        "after",
        "steps",
        "newly_fixed",
        "newly_broken",
        "edits",
        "controls",
        "learning_rate",
    ):
        assert again[key] == json.loads(json.dumps(record.contract()[key]))


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "helpers"])
def test_every_strategy_is_repeated_bit_for_bit_by_replay_and_by_its_command(
    engine: Engine, strategy: str, tracefix: CommandLine, tmp_path: Path
) -> None:
    """With a guard as well, which belongs to the recipe."""
    guarded = kept(engine, engine.project.mispredictions()[-3]["id"], strategy=strategy, top=4, guard=30)
    assert engine.replay(guarded.fix_id).difference == 0
    export_fix(engine, guarded.fix_id, tmp_path / "out")
    edits = tmp_path / "out" / EDITS_FILE
    command = shlex.split(replay_command(engine.project.directory, guarded, edits))
    again = json.loads(tracefix(*command[1:], "--json").out)
    assert again["after"] == guarded.contract()["after"] and again["steps"] == guarded.steps


def test_the_table_of_edits_says_what_was_done_and_why(
    engine: Engine, mixed: FixRecord, tmp_path: Path
) -> None:
    export_fix(engine, mixed.fix_id, tmp_path / "out")
    with (tmp_path / "out" / "edits.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = {card["id"]: card["label"] for card in engine.project.describe("train", mixed.train_ids)}
    scores = engine.explain(mixed.test_id, method=mixed.method).scores
    for row, edit in zip(rows, mixed.edits, strict=True):
        assert list(row) == ["id", "action", "old label", "new label", "reason"]
        assert (row["id"], row["action"], row["old label"]) == (
            edit.train_id,
            edit.action,
            labels[edit.train_id],
        )
        assert row["new label"] == (edit.label or labels[edit.train_id])
        score = scores[engine.project.position("train", edit.train_id)]
        assert (
            row["reason"].startswith("culprit" if score > 0 else "helper")
            and f"{score:+.3g}" in row["reason"]
        )
    assert read_edits(tmp_path / "out" / "edits.csv") == mixed.edits


@pytest.mark.parametrize("changes", [{"seed": 4}, {"steps": 1}, {"edits": []}])
def test_a_recipe_that_gives_something_else_is_refused(
    engine: Engine, fix: FixRecord, tmp_path: Path, changes: dict[str, object]
) -> None:
    """Of a record that was tampered with, or a machine that computes otherwise, nothing is written."""
    after = fix.after.model_copy(update={"probabilities": dict.fromkeys(fix.after.probabilities, 0.1)})
    false = fix.model_copy(update={"fix_id": "fix-false", "after": after, **changes})
    engine.project.history.save(false, state="preview")
    with pytest.raises((ProjectError, UsageError), match=r"instead of 0\.1|no training example"):
        export_fix(engine, "fix-false", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_changed_since_is_said(engine: Engine, fix: FixRecord) -> None:
    before = fix.before.model_copy(update={"probabilities": dict.fromkeys(fix.before.probabilities, 0.1)})
    engine.project.history.save(
        fix.model_copy(update={"fix_id": "fix-old", "before": before}), state="preview"
    )
    with pytest.raises(ProjectError, match="changed since fix-old was made"):
        engine.replay("fix-old")


def test_what_is_there_is_never_overwritten_and_a_cancelled_export_leaves_nothing(
    engine: Engine, fix: FixRecord, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("three years of work")
    with pytest.raises(ProjectError, match="already exists: give a new folder"):
        export_fix(engine, fix.fix_id, mine)
    assert [file.name for file in mine.iterdir()] == ["thesis.txt"]

    def stop(fraction: float, message: str) -> None:
        if message == "Writing the model":
            raise Cancelled("Cancelled: enough.")

    with pytest.raises(Cancelled):
        export_fix(engine, fix.fix_id, tmp_path / "never", reporter=Reporter(stop))
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    assert export_fix(engine, fix.fix_id, tmp_path / "empty").directory == tmp_path / "empty"


def test_export_from_the_command_line(
    tracefix: CommandLine, prepared_digits: Project, fix: FixRecord, tmp_path: Path
) -> None:
    arguments = ("export", prepared_digits.directory, fix.fix_id, "--output", tmp_path / "out")
    outcome = tracefix(*arguments, "--json")
    assert outcome.status == 0, outcome.err
    answer = json.loads(outcome.out)
    assert answer["difference"] <= 1e-5
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == answer["files"]
    assert "give a new folder" in tracefix.refused(*arguments)
    assert "no fix 'fix-none'" in tracefix.refused(
        "export", prepared_digits.directory, "fix-none", "--output", tmp_path / "other"
    )


@pytest.mark.parametrize(
    "content",
    ["id,action\n", "id,action,new label\n7,explode,\n", "id,action,new label\n7,relabel,\n", "a\nb\n"],
)
def test_a_table_that_holds_no_edits_is_refused(
    tracefix: CommandLine, prepared_digits: Project, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "edits.csv"
    file.write_text(content)
    wrong = prepared_digits.mispredictions()[0]["id"]
    sentence = tracefix.refused("fix", prepared_digits.directory, wrong, "--edits", file, status=2)
    assert "is no edit" in sentence or "no training example" in sentence


ids = some.text(min_size=1, max_size=8).filter(lambda text: "\x00" not in text and text.isprintable())


@given(some.lists(ids, min_size=1, max_size=5, unique=True), ids, some.booleans())
def test_any_id_survives_the_shell_and_the_table(
    fix: FixRecord, tmp_path_factory: pytest.TempPathFactory, train_ids: list[str], test_id: str, alike: bool
) -> None:
    edits = [Edit(train_id=train_id, action="upweight") for train_id in train_ids]
    if not alike:
        edits[0] = Edit(train_id=train_ids[0], action="relabel", label='a "b", c')
    record = fix.model_copy(update={"test_id": test_id, "edits": edits})
    words = shlex.split(replay_command("my project", record, "edits.csv"))
    assert words[:2] == ["tracefix", "fix"] and "my project" in words and test_id in words
    if "--train-ids" in words:
        given_ids = words[words.index("--train-ids") + 1].split(",")
        assert alike and given_ids == train_ids
    file = tmp_path_factory.mktemp("edits") / "edits.csv"
    rows = edit_rows(record, ["old"] * len(edits), ["why"] * len(edits))
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert read_edits(file) == edits
