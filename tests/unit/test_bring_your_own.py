"""The examples of docs/bring-your-own.md and of the README, run as they stand there on tiny data."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from attribution import Project
from attribution.sources import load_task
from attribution.sources.checkpoint_list import checkpoint_list
from tests.command_line import CommandLine
from tests.unit.test_checkpoint_files import lightning
from tests.unit.trainer_output import LABELS, SENTENCES, run_like_the_trainer

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "bring-your-own.md").read_text(encoding="utf-8")

MY_CODE = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))

_generator = torch.Generator().manual_seed(0)
_inputs = torch.randn(90, 4, generator=_generator)
_labels = (_inputs[:, :3] + torch.randn(90, 3, generator=_generator)).argmax(dim=1)
train_set = torch.utils.data.TensorDataset(_inputs[:60], _labels[:60])
test_set = torch.utils.data.TensorDataset(_inputs[60:], _labels[60:])
class_names = ["a", "b", "c"]
"""


def section(title: str) -> str:
    """The document from a heading to the next one of any level (comments in code are lower case)."""
    return re.split(r"^#+ [A-Z]", DOCUMENT.split(f"# {title}\n", 1)[1], flags=re.MULTILINE)[0]


def blocks(language: str, text: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with somebody's own code, the current one."""
    (tmp_path / "my_code.py").write_text(MY_CODE)
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_code", raising=False)
    return tmp_path


def write(here: Path, title: str) -> None:
    """The Python files of a section, each named by its first line."""
    for block in blocks("python", section(title)):
        (here / block.split("\n", 1)[0].removeprefix("# ")).write_text(block)


def run(tracefix: CommandLine, lines: list[str]) -> None:
    """Shell lines, those that begin with tracefix."""
    for line in lines:
        command, *arguments = shlex.split(line)
        assert command == "tracefix"
        outcome = tracefix(*arguments)
        assert outcome.status == 0, outcome.err


def shell(title: str) -> list[str]:
    return [line for block in blocks("bash", section(title)) for line in block.splitlines()]


def test_a_plain_loop(here: Path, tracefix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, "A plain PyTorch loop")
    monkeypatch.syspath_prepend(here)
    torch.manual_seed(0)
    trained = runpy.run_path("train.py")
    run(tracefix, shell("A Python task file"))
    task = load_task(Project.open(here / "my-project"))
    assert [(c.step, c.learning_rate) for c in task.checkpoints] == [(3 * n, 0.05) for n in range(1, 7)]
    assert (task.optimizer, task.momentum, task.weight_decay, task.batch_size) == ("sgd", 0.9, 1e-3, 20)
    torch.testing.assert_close(dict(task.model.state_dict()), dict(trained["net"].state_dict()))
    wrong = Project.open(here / "my-project").mispredictions()[0]["id"]
    run(tracefix, [f"tracefix explain my-project {wrong} --method source"])


def test_lightning(here: Path, tracefix: CommandLine) -> None:
    """Files of its layout; it is not installed."""
    write(here, "Lightning")
    folder = here / "lightning_logs" / "version_0" / "checkpoints"
    folder.mkdir(parents=True)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for epoch in range(12):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.randn(20, 4)), torch.randint(3, (20,))).backward()
        optimizer.step()
        torch.save(
            lightning(net, 3 * epoch + 3, optimizer), folder / f"epoch={epoch}-step={3 * epoch + 3}.ckpt"
        )
    run(tracefix, shell("A Python task file"))
    task = load_task(Project.open(here / "my-project"))
    assert [c.step for c in task.checkpoints] == [3 * n for n in range(1, 13)], "by step, not by name"
    torch.testing.assert_close(dict(task.model.state_dict()), dict(net.state_dict()))
    wrong = Project.open(here / "my-project").mispredictions()[0]["id"]
    run(tracefix, [f"tracefix explain my-project {wrong} --method source"])


def test_the_trainers_output_in_a_task_file(here: Path, tracefix: CommandLine) -> None:
    made = run_like_the_trainer(here / "output")
    (here / "my_code.py").write_text(
        "from tests.unit.tiny_models import Pairs, texts, labels\n"
        "train_set = test_set = Pairs(texts(20), labels(20))\nclass_names = ['a', 'b', 'c']\n"
    )
    write(here, "Hugging Face Trainer")
    run(tracefix, shell("A Python task file"))
    task = load_task(Project.open(here / "my-project"))
    assert [c.step for c in task.checkpoints] == [5, 10, 15]
    for checkpoint in task.checkpoints:
        assert checkpoint.learning_rate == pytest.approx(made.rates[checkpoint.step - 1])
        torch.testing.assert_close(checkpoint.second_moments, made.moments[checkpoint.step])


@pytest.fixture
def trained_with_tables(here: Path) -> Path:
    """A Trainer's output folder and the tables of the examples."""
    run_like_the_trainer(here / "output")
    for split, labels in (("train", LABELS), ("test", [1, *LABELS[1:]])):
        table = pd.DataFrame({"review": SENTENCES * 10, "stars": labels * 10})
        table.to_csv(here / f"{split}.csv", index=False)
    return here


def test_a_transformers_checkpoint_and_tables(trained_with_tables: Path, tracefix: CommandLine) -> None:
    run(tracefix, shell("A transformers checkpoint and tables"))
    assert Project.open(trained_with_tables / "reviews-project").prepared


def test_the_five_lines_of_the_readme(trained_with_tables: Path, tracefix: CommandLine) -> None:
    own = (
        (ROOT / "README.md")
        .read_text(encoding="utf-8")
        .split("## Bring your own model\n")[1]
        .split("\n## ")[0]
    )
    lines = re.findall(r"^    (tracefix .*?)(?:  +.*)?$", own, flags=re.MULTILINE)
    assert len(lines) == 5
    run(tracefix, lines[:3])
    wrong = Project.open(trained_with_tables / "reviews-project").mispredictions()[0]["id"]
    run(tracefix, [line.replace("TEST_ID", wrong) for line in lines[3:]])


def test_both_lists_of_checkpoints(here: Path) -> None:
    from safetensors.torch import save_file

    torch.save({"weight": torch.ones(1)}, here / "runs" / "early.pt")
    save_file({"weight": torch.ones(1)}, here / "runs" / "late.safetensors")
    text = section("Checkpoints of the training run")
    (here / "runs.csv").write_text(blocks("csv", text)[0])
    (here / "runs.json").write_text(blocks("json", text)[0])
    first, second = checkpoint_list("runs.csv"), checkpoint_list("runs.json")
    assert first.files == second.files
    assert [(f.path.name, f.step, f.learning_rate) for f in first.files] == [
        ("early.pt", 20, 0.1),
        ("late.safetensors", 200, 0.01),
    ]
    assert second.training is not None and second.training.weight_decay == 0.001
    assert json.loads((here / "runs.json").read_text())["optimizer"] == second.training.optimizer
