"""Fixing and explaining several from the command line, and carrying such a fix home: export, report, command."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from attribution import Engine
from attribution.error_clusters import error_clusters
from attribution.errors import UsageError
from attribution.fixing import also_ids, export_fix, replay_command
from attribution.fixing.command import also_option
from attribution.projects import FixRecord, Project
from attribution.projects.records import ControlRecord
from dashboard.report import report_of
from dashboard.report.page import LARGEST
from dashboard.views.accuracy import percent
from dashboard.views.fixes import controls_sentence, result_chip, steps_sentence, verdict
from tests.command_line import CommandLine
from tests.unit.test_report import Elements, words_of


@pytest.fixture(scope="module")
def engine(prepared_digits: Project) -> Engine:
    return Engine(prepared_digits, device="cpu")


@pytest.fixture(scope="module")
def group(engine: Engine) -> list[str]:
    return [row["id"] for row in engine.project.mispredictions()[-4:]]


@pytest.fixture(scope="module")
def fix(engine: Engine, group: list[str]) -> FixRecord:
    record = engine.fix(group, seed=3)
    engine.project.history.save(record)
    return record


ids = some.text(min_size=1, max_size=8).filter(lambda text: "\x00" not in text)


@given(some.lists(ids, min_size=1, max_size=5))
def test_any_ids_survive_the_option(test_ids: list[str]) -> None:
    assert also_ids(also_option(test_ids)) == test_ids


def test_plain_ids_are_only_separated_by_commas() -> None:
    assert also_option(["a", "b c", "-d"]) == "a,b c,-d" and also_ids("a, b c,-d") == ["a", "b c", "-d"]
    assert also_ids(None) == []
    for wrong in ("", "a,,b", 'a,"b'):
        with pytest.raises(UsageError, match="--also"):
            also_ids(wrong)


def test_explaining_several_keeps_the_shape_and_says_what_each_explains(
    tracefix: CommandLine, engine: Engine, group: list[str]
) -> None:
    directory = engine.project.directory
    outcome = tracefix("explain", directory, group[0], "--also", ",".join(group[1:]), "--top", "5", "--json")
    assert outcome.status == 0, outcome.err
    document = json.loads(outcome.out)
    alone = json.loads(tracefix("explain", directory, group[0], "--json").out)
    assert set(document) == {*alone, "examples"} and document["example"] == alone["example"]
    assert [example["id"] for example in document["examples"]] == group
    expected = engine.explain_group(group)
    for side, cards in (("culprits", expected.culprits(5)), ("helpers", expected.helpers(5))):
        assert [(row["id"], row["explains"]) for row in document[side]] == [
            (c["id"], c["explains"]) for c in cards
        ]
        assert all(set(row) == {*alone[side][0], "explains"} for row in document[side])
    table = tracefix("explain", directory, group[0], "--also", ",".join(group[1:])).out
    assert f"{expected.culprits(1)[0]['explains']} of 4" in table and all(one in table for one in group)


def test_fixing_several_from_the_command_line(
    tracefix: CommandLine, engine: Engine, group: list[str], fix: FixRecord
) -> None:
    command = shlex.split(replay_command(engine.project.directory, fix))
    outcome = tracefix(*command[1:], "--json")
    assert outcome.status == 0, outcome.err
    document = json.loads(outcome.out)
    assert [target["test_id"] for target in document["targets"]] == group and document["test_id"] == group[0]
    for key in (
        "before",
        "after",
        "targets",
        "fixed",
        "steps",
        "newly_fixed",
        "newly_broken",
        "edits",
        "controls",
    ):
        assert document[key] == json.loads(json.dumps(fix.contract()[key]))
    table = tracefix(*command[1:])
    assert f"{fix.fixed_count} of 4 are fixed" in table.out and all(one in table.out for one in group)


def test_clusters_are_listed_to_be_fixed_together(tracefix: CommandLine, engine: Engine) -> None:
    expected = error_clusters(engine.project)
    outcome = tracefix("mispredictions", engine.project.directory, "--clusters", "--json")
    assert outcome.status == 0, outcome.err
    assert json.loads(outcome.out) == [
        {
            "name": cluster.name,
            "cells": [{"true": t, "predicted": p, "count": n} for t, p, n in cluster.cells],
            "words": [],
            "examples": cluster.test_ids,
        }
        for cluster in expected
    ]
    assert expected[0].name in tracefix("mispredictions", engine.project.directory, "--clusters").out


def test_what_several_cannot_have_is_said(tracefix: CommandLine, engine: Engine, group: list[str]) -> None:
    directory = engine.project.directory
    assert "nobody" in tracefix.refused("fix", directory, group[0], "--also", "nobody")
    assert "--also" in tracefix.refused("explain", directory, group[0], "--also", "", status=2)
    refused = tracefix.refused("explain", directory, group[0], "--also", group[1], "--stage", "x", status=2)
    assert "leave --also out" in refused


def test_an_export_says_what_became_of_every_target(engine: Engine, fix: FixRecord, tmp_path: Path) -> None:
    exported = export_fix(engine, fix.fix_id, tmp_path / "out")
    assert exported.difference == 0
    readme = (tmp_path / "out" / "README.txt").read_text()
    assert "A fix of 4 test examples together" in readme
    assert f"{fix.fixed_count} of 4 are predicted right now" in readme
    for target in fix.targets:
        assert f"Test example {target.test_id} is predicted as '{target.after.predicted}'" in readme
        assert f"{target.after.probabilities[target.true]:.6f}" in readme
    assert [
        t["test_id"] for t in json.loads((tmp_path / "out" / "fix.json").read_text())["targets"]
    ] == fix.test_ids


def test_a_report_shows_every_target_before_and_after(engine: Engine, fix: FixRecord) -> None:
    page = report_of(engine, fix)
    words = words_of(page)
    assert Elements(page).open == [] and len(page.encode()) <= LARGEST
    expected = [
        "Why 4 predictions are wrong",
        f"{fix.fixed_count} of 4",
        steps_sentence(fix),
        controls_sentence(fix),
        verdict(fix, fix),
        *(verdict(fix, control) for control in fix.controls),
        *(f"explains {card['explains']} of 4" for card in engine.explain_group(fix.test_ids).culprits(8)),
        *(
            f"{t.test_id} {t.true} {t.before.predicted} {t.after.predicted} "
            f"{percent(t.before.probabilities[t.true])} {percent(t.after.probabilities[t.true])}"
            for t in fix.targets
        ),
    ]
    for piece in expected:
        assert " ".join(piece.split()) in words, piece


@pytest.mark.parametrize(
    ("mine", "theirs", "words"),
    [
        ((4, 5, 2), ((1, 9, 0), (2, 9, 9)), "4 of 4 fixed; the controls fixed fewer"),
        ((4, 5, 2), ((4, 9, 0), (2, 9, 9)), "in more steps: the chosen examples matter"),
        ((4, 5, 2), ((4, 5, 2), (2, 9, 9)), "no sign that the chosen examples matter"),
        ((4, 5, 2), ((4, 5, 8), (2, 9, 9)), "the chosen examples do less harm"),
        ((3, 50, 2), ((4, 5, 8), (2, 50, 9)), "though a control fixed more"),
        ((3, 50, 2), ((3, 50, 3), (2, 50, 9)), "the chosen examples do less harm"),
        ((0, 50, 2), ((0, 50, 3), (0, 50, 9)), "None is fixed"),
    ],
)
def test_controls_of_several_are_compared_by_how_many_they_fix(
    fix: FixRecord, mine: tuple[int, int, int], theirs: tuple[tuple[int, int, int], ...], words: str
) -> None:
    """(fixed, steps, broken) of the fix and of its controls."""
    count, steps, broken = mine
    record = fix.model_copy(
        update={
            "targets": [t.model_copy(update={"fixed": n < count}) for n, t in enumerate(fix.targets)],
            "fixed": count == 4,
            "steps": steps,
            "newly_broken": ["x"] * broken,
            "controls": [
                control.model_copy(update={"fixed": c == 4, "fixed_count": c, "steps": s, "newly_broken": b})
                for control, (c, s, b) in zip(fix.controls, theirs, strict=True)
            ],
        }
    )
    assert all(isinstance(control, ControlRecord) for control in record.controls)
    assert words in controls_sentence(record)
    assert result_chip(record) == f"{count} of 4 fixed · controls {theirs[0][0]} and {theirs[1][0]}"
