"""The commands of the contract on `digits`: shapes of the JSON, ids, measurements, options."""

from __future__ import annotations

import inspect
import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attribution import Engine
from attribution.fixing import STRATEGIES, FixSettings
from attribution.projects import Project
from dashboard import cli_tracing
from tests.command_line import CommandLine


@pytest.fixture(scope="module")
def wrong(prepared_digits: Project) -> dict[str, Any]:
    """The misprediction with the worst loss."""
    return prepared_digits.mispredictions()[0]


def document(tracefix: CommandLine, *arguments: str | Path) -> Any:
    """What a command prints with --json: stdout must be one JSON document and nothing else."""
    outcome = tracefix(*arguments, "--json")
    assert outcome.status == 0, outcome.err
    return json.loads(outcome.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_mispredictions_are_the_wrong_ones_worst_loss_first(
    tracefix: CommandLine, prepared_digits: Project
) -> None:
    rows = document(tracefix, "mispredictions", prepared_digits.directory)
    table = prepared_digits.predictions("test")
    assert {row["id"] for row in rows} == set(table.index[table["label"] != table["predicted"]])
    assert all(set(row) == {"id", "true", "predicted", "confidence", "loss", "input"} for row in rows)
    losses = [row["loss"] for row in rows]
    assert losses == sorted(losses, reverse=True)
    for row in rows:
        assert row["true"] != row["predicted"]
        assert row["input"].startswith("data:image/png;base64,")
        stored = table.loc[row["id"]]
        assert row["loss"] == pytest.approx(-math.log(stored[f"p_{int(stored['label'])}"]), rel=1e-4)
        assert row["confidence"] == pytest.approx(stored[f"p_{int(stored['predicted'])}"], rel=1e-6)


def test_explain_gives_both_sides_strongest_first(
    tracefix: CommandLine, prepared_digits: Project, wrong: dict[str, Any]
) -> None:
    answer = document(
        tracefix, "explain", prepared_digits.directory, wrong["id"], "--method", "tracin", "--top", "10"
    )
    assert {"example", "method", "measurement", "culprits", "helpers", "seconds", "trust"} <= set(answer)
    assert answer["example"] == wrong
    assert (answer["method"], answer["measurement"]) == ("tracin", "margin")
    assert {"query", "total"} <= set(answer["seconds"])
    train_ids = set(prepared_digits.predictions("train").index)
    for side, sign in (("culprits", 1), ("helpers", -1)):
        assert len(answer[side]) == 10
        assert all({"id", "score", "label", "input"} <= set(row) for row in answer[side])
        assert {row["id"] for row in answer[side]} <= train_ids
        strengths = [sign * row["score"] for row in answer[side]]
        assert strengths == sorted(strengths, reverse=True)
        assert strengths[-1] > 0


def test_scores_file_holds_every_score_in_training_order(
    tracefix: CommandLine, prepared_digits: Project, wrong: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "scores"  # without .npy: the name is taken as given
    answer = document(
        tracefix, "explain", prepared_digits.directory, wrong["id"], "--method", "grad_dot", "--scores", file
    )
    scores = np.load(file)
    ids = list(prepared_digits.predictions("train").index)
    assert scores.dtype == np.float32
    assert scores.shape == (len(ids),)
    for row in answer["culprits"] + answer["helpers"]:
        assert scores[ids.index(row["id"])] == pytest.approx(row["score"], rel=1e-5)
    assert answer["culprits"][0]["score"] == pytest.approx(scores.max(), rel=1e-5)
    assert len(answer["culprits"]) == 20, "the default of --top"


def test_measurements_relate_as_their_definitions_say(
    tracefix: CommandLine, prepared_digits: Project, wrong: dict[str, Any], tmp_path: Path
) -> None:
    """The margin is a difference of two logits, so its scores are the difference of the logits' scores."""
    written = tmp_path / "measure.py"
    number = prepared_digits.class_names.index(wrong["predicted"])
    written.write_text(f"def chosen(logits, labels):\n    return logits[:, {number}]\n")

    def scores(measurement: str) -> np.ndarray:
        file = tmp_path / "scores.npy"
        answer = document(
            tracefix,
            *("explain", prepared_digits.directory, wrong["id"], "--method", "grad_dot"),
            *("--measurement", measurement, "--scores", file),
        )
        assert answer["measurement"] == measurement
        return np.load(file)

    predicted, true = scores(f"logit:{wrong['predicted']}"), scores(f"logit:{wrong['true']}")
    scale = np.abs(predicted).max()
    np.testing.assert_allclose(scores("margin"), predicted - true, atol=1e-4 * scale)
    np.testing.assert_allclose(scores(f"{written}:chosen"), predicted, atol=1e-5 * scale)


def test_a_fix_is_printed_as_the_contract_says_and_kept(
    tracefix: CommandLine, prepared_digits: Project, wrong: dict[str, Any]
) -> None:
    arguments = (
        "fix",
        prepared_digits.directory,
        wrong["id"],
        "--strategy",
        "helpers",
        "--top",
        "5",
        "--seed",
        "3",
    )
    fix = document(tracefix, *arguments)
    assert {
        *("fix_id", "strategy", "train_ids", "before", "after", "fixed", "steps", "seconds"),
        *("accuracy_before", "accuracy_after", "newly_fixed", "newly_broken", "controls"),
    } <= set(fix)
    assert fix["strategy"] == "helpers"
    assert len(fix["train_ids"]) == 5
    assert fix["before"]["predicted"] == wrong["predicted"]
    assert fix["fixed"] == (fix["after"]["predicted"] == wrong["true"])
    for belief in (fix["before"], fix["after"]):
        assert sum(belief["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert max(belief["probabilities"], key=belief["probabilities"].get) == belief["predicted"]
    tested = len(prepared_digits.predictions("test"))
    change = (
        len(fix["newly_fixed"])
        - len(fix["newly_broken"])
        + fix["fixed"] * (wrong["id"] not in fix["newly_fixed"])
    )
    assert (fix["accuracy_after"] - fix["accuracy_before"]) * tested == pytest.approx(change, abs=1e-6)
    assert fix["controls"]
    assert all({"name", "fixed", "steps", "accuracy_after"} <= set(control) for control in fix["controls"])
    assert prepared_digits.history.get(fix["fix_id"]).contract() == fix
    assert fix["fix_id"] in [kept.fix_id for kept in prepared_digits.history.list()]

    again = document(tracefix, *arguments)
    for changing in ("fix_id", "seconds"):
        fix.pop(changing), again.pop(changing)
    assert again == fix, "the same seed gives the same fix"


def test_a_fix_uses_the_training_examples_it_is_given(
    tracefix: CommandLine, prepared_digits: Project, wrong: dict[str, Any]
) -> None:
    table = prepared_digits.predictions("train")
    label = prepared_digits.class_names.index(wrong["true"])
    chosen = list(table.index[table["label"] == label][:3])
    fix = document(
        tracefix,
        *("fix", prepared_digits.directory, wrong["id"], "--train-ids", ", ".join(chosen), "--steps", "2"),
    )
    assert fix["train_ids"] == chosen
    assert fix["steps"] <= 2


def help_of_fix(tracefix: CommandLine) -> str:
    """Its words, without the frames around them."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", tracefix("fix", "--help").out).split())


def test_help_names_every_strategy(tracefix: CommandLine) -> None:
    text = help_of_fix(tracefix)
    assert all(f"{name} {does}" in text for name, does in STRATEGIES.items())


def test_the_command_line_the_engine_and_the_page_have_the_same_defaults(tracefix: CommandLine) -> None:
    usual = asdict(FixSettings())
    engine = inspect.signature(Engine.fix).parameters
    assert {name: engine[name].default for name in usual} == usual
    command = inspect.signature(cli_tracing.fix).parameters
    assert {name: command[name].default for name in ("strategy", "steps", "seed")} == {
        name: usual[name] for name in ("strategy", "steps", "seed")
    }
    assert f"How many training examples: {usual['top']} if not given" in help_of_fix(tracefix)


def test_methods_say_what_they_need(tracefix: CommandLine) -> None:
    rows = document(tracefix, "methods")
    assert all(set(row) == {"name", "title", "citation", "needs", "cost"} for row in rows)
    assert {"grad_dot", "grad_cos", "representation", "tracin", "tracin_last_layer"} <= {
        row["name"] for row in rows
    }
    assert all(isinstance(row["needs"], list) and row["citation"] and row["cost"] for row in rows)


@pytest.mark.parametrize("command", ["mispredictions", "methods", "explain", "fix"])
def test_tables_for_people(
    tracefix: CommandLine, prepared_digits: Project, wrong: dict[str, Any], command: str
) -> None:
    arguments: dict[str, list[str | Path]] = {
        "mispredictions": [prepared_digits.directory],
        "methods": [],
        "explain": [prepared_digits.directory, wrong["id"], "--top", "3"],
        "fix": [prepared_digits.directory, wrong["id"], "--steps", "3"],
    }
    outcome = tracefix(command, *arguments[command])
    assert outcome.status == 0, outcome.err
    assert ("tracin" if command == "methods" else wrong["id"]) in outcome.out


def test_a_sample_name_is_enough_on_an_empty_disk(tracefix: CommandLine, tmp_path: Path) -> None:
    projects = tmp_path / "nothing" / "yet"
    rows = document(tracefix, "mispredictions", "digits", "--projects", projects)
    assert rows
    assert Project.open(projects / "digits").prepared
    assert [path.name for path in projects.iterdir()] == ["digits"], "no temporary folders stay"
    repeated = tracefix("demo", "digits", "--prepare-only", "--projects", projects)
    assert repeated.status == 0
    assert repeated.err == "", "what is prepared is not prepared again"


def test_prepare_says_what_it_has_done(tracefix: CommandLine, own_digits: Project) -> None:
    outcome = tracefix(
        "prepare", own_digits.directory, "--methods", "tracin,grad_dot", "--resume", "--device", "cpu"
    )
    assert outcome.status == 0, outcome.err
    assert "797 test examples" in outcome.out
    assert str(own_digits.directory) in outcome.out


def test_no_mispredictions_at_all_is_an_answer(tracefix: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(
        "import torch\n"
        "from attribution import Task\n"
        "class Points(torch.utils.data.Dataset):\n"
        "    def __init__(self, n):\n"
        "        self.x = torch.linspace(-1, 1, n)[:, None]\n"
        "    def __len__(self):\n"
        "        return len(self.x)\n"
        "    def __getitem__(self, i):\n"
        "        return self.x[i], int(self.x[i] > 0)\n"
        "def build():\n"
        "    model = torch.nn.Linear(1, 2)\n"
        "    with torch.no_grad():\n"
        "        model.weight.copy_(torch.tensor([[-5.0], [5.0]]))\n"
        "        model.bias.zero_()\n"
        "    print('chatter of the user')\n"
        "    return Task(model=model, train=Points(20), test=Points(10), class_names=['low', 'high'])\n"
    )
    project = tmp_path / "separable"
    made = tracefix("new", project, "--task", f"{tmp_path / 'task.py'}:build")
    assert made.status == 0, made.err
    assert document(tracefix, "mispredictions", project) == []
    assert "right" in tracefix("mispredictions", project).out
    answer = document(tracefix, "explain", project, "0", "--method", "grad_dot")
    assert answer["example"]["true"] == answer["example"]["predicted"] == "low"
