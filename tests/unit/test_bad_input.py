"""Bad input to `tracefix new`: one sentence that says what is wrong and what to do, and nothing is made."""

from __future__ import annotations

import re
import shutil
import warnings
from pathlib import Path

import pytest

from tests.command_line import CommandLine
from tests.unit.bad_input import Kind, of_pictures, of_task, of_texts, save_good
from tests.unit.bad_input_kinds import kinds

KINDS = list(kinds())
PROGRESS = re.compile(r".*\(\d+%(, about \d+ s left)?\)")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("good")
    save_good(place)
    return place


@pytest.fixture
def place(good: Path, tmp_path: Path) -> Path:
    """A copy of the good data, to be spoilt."""
    return Path(shutil.copytree(good, tmp_path / "data"))


def one_sentence(tracefix: CommandLine, status: int, *arguments: str | Path) -> str:
    """What a refusal says; checked that it is one sentence on stderr after nothing but progress."""
    with warnings.catch_warnings(
        record=True
    ) as caught:  # on the command line they would be lines of their own
        sentence = tracefix.refused(*arguments, status=status)
    assert not [str(warning.message) for warning in caught if "torch" not in warning.filename]
    assert sentence.endswith(".") or "python -c" in sentence, "a command to copy has no full stop"
    assert len(sentence) < 1200, sentence
    assert not re.search(r"[a-z'\")]\. [A-Z][a-z]+ [a-z]", sentence), sentence
    return sentence


def test_there_are_enough_kinds() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 40


@pytest.mark.parametrize("make", [of_texts, of_pictures, lambda p: of_task(p, "task()")])
def test_what_is_right_is_taken(tracefix: CommandLine, place: Path, tmp_path: Path, make: object) -> None:
    """Else the refusals below would prove nothing."""
    outcome = tracefix("new", tmp_path / "p", *make(place))  # type: ignore[operator]
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "p" / "project.json").is_file()


def test_a_device_that_is_not_there_is_refused_before_anything_is_computed(
    tracefix: CommandLine, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert tracefix("new", tmp_path / "p", *of_task(place, "task()")).status == 0
    sentence = one_sentence(tracefix, 2, "prepare", tmp_path / "p", "--device", "cuda")
    assert "cuda" in sentence.lower() and "cpu" in sentence
    assert [file.name for file in (tmp_path / "p").iterdir()] == ["project.json"]


def test_a_project_inside_a_file_cannot_be_made(tracefix: CommandLine, place: Path) -> None:
    sentence = one_sentence(tracefix, 1, "new", place / "train.csv" / "p", *of_texts(place))
    assert "train.csv" in sentence and "writable" in sentence


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_bad_input_gets_one_sentence_and_makes_no_project(
    tracefix: CommandLine, place: Path, tmp_path: Path, kind: Kind
) -> None:
    arguments = kind.make(place)
    before = sorted(tmp_path.rglob("*"))
    sentence = one_sentence(tracefix, kind.status, "new", tmp_path / "p", *arguments)
    assert re.search(kind.said, sentence), sentence
    assert sorted(tmp_path.rglob("*")) == before, "no project, and no part of one"
