"""Whatever users' data hold, it is shown and does nothing: in a terminal, in JSON, in exports and in reports."""

from __future__ import annotations

import csv
import json
import re
from html import unescape
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import nn
from torch.utils.data import TensorDataset

from attribution import Project, Task, prepare
from attribution.fixing import read_edits
from dashboard.views.inert import visible
from tests.command_line import CommandLine
from tests.unit.built_projects import project_of

IDS = [
    "=cmd|' /C calc'!A1",
    "+1",
    "-2",
    "@SUM(A1)",
    "'=kept",
    "[red]red[/red]",
    "[link=https://example.org]here[/link]",
    "\x1b[31mred",
    "\x1b]8;;https://example.org\x07there",
    "\u202etxt.exe",
    "<b>bold</b>",
    ":warning:",
]
"""Formulas, markup of the terminal's library, escape sequences, an override of the direction, HTML, an emoji's name."""

TEXT = "<script>alert(1)</script> [bold]b[/bold] \x1b[2J\x9b31m\x07 **strong** שלום \u202eevil {{x}} =1+1"
CLASSES = ["[green]good[/green]\x1b[0m", "=bad\u2066"]
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal or a line of text would obey."""


def hostile_task() -> Task:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3 * len(IDS), 4, generator=generator)
    labels = (inputs[:, 0] > 0).long()
    labels[: len(IDS)] = 1 - labels[: len(IDS)]
    model = nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-2.0, 0, 0, 0], [2.0, 0, 0, 0]]))
        model.bias.zero_()
    count = len(IDS)
    return Task(
        model=model,
        train=TensorDataset(inputs[count:], labels[count:]),
        test=TensorDataset(inputs[:count], labels[:count]),
        class_names=CLASSES,
        train_ids=[*IDS, *(f"plain {number}" for number in range(count))],
        test_ids=IDS,
        train_display=[f"{TEXT} {number}" for number in range(2 * count)],
        test_display=[f"{TEXT} {number}" for number in range(count)],
        learning_rate=0.1,
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A prepared project in which every word is hostile; all its test examples are mispredicted."""
    project = project_of(tmp_path_factory.mktemp("hostile") / "project", hostile_task)
    prepare(project, device="cpu")
    return Project.open(project.directory)


def own_styles(written: str) -> str:
    """What is left without the styles that the terminal's library itself writes."""
    return re.sub(r"\x1b\[[\d;]*m", "", written)


@pytest.mark.parametrize("colours", [False, True], ids=["pipe", "colours"])
def test_nothing_reaches_the_terminal_that_it_would_obey(
    tracefix: CommandLine, hostile: Project, colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # in a narrow terminal, words of a table are cut
    if colours:
        monkeypatch.setenv("FORCE_COLOR", "1")
    listed = tracefix("mispredictions", hostile.directory)
    explained = tracefix("explain", hostile.directory, "[red]red[/red]", "--top", "30")
    fixed = tracefix("fix", hostile.directory, "--train-ids", "[red]red[/red]", "--", "\x1b[31mred")
    refused = tracefix("explain", hostile.directory, "\x1b[31mread")
    assert [o.status for o in (listed, explained, fixed, refused)] == [0, 0, 0, 1], fixed.err
    for outcome in (listed, explained, fixed, refused):
        assert not OBEYED.search(own_styles(outcome.out)), outcome.out
        if not colours or outcome is refused:  # else with a progress bar, which moves the cursor
            assert not OBEYED.search(own_styles(outcome.err)), outcome.err
    words = own_styles(listed.out)
    assert "[red]red[/red]" in words and "[link=https://example.org]here[/link]" in words
    assert r"\x1b[31mred" in words and r"\u202etxt.exe" in words and ":warning:" in words
    assert "[green]good[/green]" in own_styles(explained.out)
    assert r"\x1b[31mread" in refused.err


def test_json_holds_every_word_as_it_is_and_no_control_character(
    tracefix: CommandLine, hostile: Project
) -> None:
    outcome = tracefix("mispredictions", hostile.directory, "--json")
    assert not OBEYED.search(outcome.out)
    rows = json.loads(outcome.out)
    assert {row["id"] for row in rows} == set(IDS)
    assert {row["true"] for row in rows} | {row["predicted"] for row in rows} == set(CLASSES)
    assert all(row["input"].startswith(TEXT) for row in rows)


def test_no_exported_cell_is_a_formula_and_every_id_comes_back(
    tracefix: CommandLine, hostile: Project, tmp_path: Path
) -> None:
    chosen = [one for one in IDS if "," not in one]
    made = tracefix("fix", hostile.directory, "+1", "--train-ids", ",".join(chosen), "--json")
    assert made.status == 0, made.err
    fix_id = json.loads(made.out)["fix_id"]
    assert tracefix("export", hostile.directory, fix_id, "--output", tmp_path / "out").status == 0
    file = tmp_path / "out" / "edits.csv"
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert not [cell for row in rows for cell in row if cell[:1] in tuple("=+-@\t\r\n")]
    assert {edit.train_id for edit in read_edits(file)} == set(chosen)
    again = tracefix("fix", hostile.directory, "+1", "--edits", file, "--json")
    assert again.status == 0, again.err
    assert json.loads(again.out)["after"] == json.loads(made.out)["after"]


def test_a_report_is_inert(tracefix: CommandLine, hostile: Project, tmp_path: Path) -> None:
    made = tracefix("fix", hostile.directory, "@SUM(A1)", "--json")
    fix_id = json.loads(made.out)["fix_id"]
    assert tracefix("report", hostile.directory, fix_id, "--output", tmp_path / "r.html").status == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert not OBEYED.search(page)
    assert "<script" not in page and "<b>bold</b>" not in page
    assert "<script>alert(1)</script>" in unescape(page) and "שלום" in page and r"\u202eevil" in page


@given(some.text())
def test_text_without_such_characters_is_shown_as_it_is(text: str) -> None:
    shown = visible(text)
    assert not OBEYED.search(shown)
    shown.encode()
    if not OBEYED.search(text) and not set(text) & {"\u2028", "\u2029"}:
        assert shown == text


def test_halves_of_characters_can_be_written() -> None:
    assert visible("caf\udce9.png") == r"caf\udce9.png"
