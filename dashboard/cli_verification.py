"""The command that puts a fix to the test: verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dashboard.cli_options import JsonOption, ProjectArgument, ProjectsOption, opened, place
from dashboard.cli_results import FixIdArgument
from dashboard.cli_terminal import print_json, print_line, print_table, working
from dashboard.views.verification import (
    outcome_sentence,
    signed,
    spread_sentence,
    training_sentence,
    verdict,
)

if TYPE_CHECKING:
    from attribution.projects import VerificationRecord


def verify(
    context: typer.Context,
    project: ProjectArgument,
    fix_id: FixIdArgument,
    seeds: Annotated[
        int,
        typer.Option("--seeds", min=1, metavar="N", help="Trainings with the edits, and as many without."),
    ] = 3,
    json: JsonOption = False,
    projects: ProjectsOption = None,
) -> None:
    """Train the model again with the edits of a fix and without: does the prediction change as the explanation says?

    As the training record says, from the same seeds. Trainings without edits are remembered for the next time.
    """
    with working() as reporter:
        ready, rest = opened(project, place(context, projects), reporter)
        ready.history.get(fix_id)
        from attribution.engine import Engine

        record = Engine(ready).verify(fix_id, seeds=seeds, reporter=rest)
    if json:
        print_json({**record.contract(), "verdict": verdict(record)})
    else:
        _show(record)


def _show(record: VerificationRecord) -> None:
    for sentence in (
        verdict(record),
        outcome_sentence(record),
        training_sentence(record),
        spread_sentence(record),
    ):
        if sentence is not None:
            print_line(sentence)
    print_table(
        "Change of the margin, log p(predicted) - log p(true)",
        ["seed", "without edits", "change with them"],
        [
            [str(seed), f"{margin:+.3f}", f"{change:+.3f}"]
            for seed, margin, change in zip(
                record.seeds, record.margins_without, record.actual.per_seed, strict=True
            )
        ],
        right=["without edits", "change with them"],
    )
    print_table(
        "What each edit was predicted to do",
        ["id", "action", "predicted"],
        [[part.train_id, part.action, signed(part.predicted)] for part in record.parts],
        right=["predicted"],
    )
