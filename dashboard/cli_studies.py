"""The command that measures methods and strategies on a project: study."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from attribution.fixing import FixSettings
from dashboard.cli_options import (
    JsonOption,
    ProjectArgument,
    ProjectsOption,
    TopOption,
    check_method,
    opened,
    place,
    separated,
)
from dashboard.cli_terminal import print_json, print_line, print_table, working
from dashboard.views.accuracy import percent


class Kind(StrEnum):
    """What a study measures."""

    CORRECTION = "correction"


def study(
    context: typer.Context,
    project: ProjectArgument,
    kind: Annotated[
        Kind, typer.Argument(help="correction: how well each strategy fixes, beside random examples.")
    ],
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            metavar="a,b",
            help="Methods that choose the examples: the best here, tracin and representation if not given.",
        ),
    ] = None,
    top: TopOption = FixSettings.top,
    steps: Annotated[
        int, typer.Option("--steps", min=1, metavar="N", help="Fine-tuning steps at most.")
    ] = FixSettings.steps,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")] = FixSettings.seed,
    mispredictions: Annotated[
        int, typer.Option("--mispredictions", min=1, metavar="N", help="Mispredictions at most.")
    ] = 200,
    json: JsonOption = False,
    projects: ProjectsOption = None,
) -> None:
    """Measure on this project's own mispredictions; the result is stored under PROJECT/studies."""
    del kind  # there is one so far
    names = separated("--methods", methods)
    with working() as reporter:
        for name in names or []:
            check_method(name)
        ready, rest = opened(project, place(context, projects), reporter)
        from attribution.engine import Engine
        from attribution.studies.correction import correction_study

        result = correction_study(
            Engine(ready),
            methods=names,
            top=top,
            steps=steps,
            seed=seed,
            most=mispredictions,
            reporter=rest,
        )
    if json:
        print_json(result)
    else:
        _show_correction(result)


def _show_correction(result: dict[str, Any]) -> None:
    print_line(
        f"{result['mispredictions']} mispredictions, {result['top']} training examples each, at most "
        f"{result['steps']} steps; ± one standard error."
    )
    for strategy, selectors in result["strategies"].items():
        print_table(
            strategy,
            ["examples by", "fixed", "median steps", "accuracy change, pp", "others fixed", "others broken"],
            [
                [
                    selector,
                    percent(row["success"]),
                    "-" if row["median_steps"] is None else f"{row['median_steps']:g}",
                    _with_error(row, "accuracy_change", 100, "+.2f"),
                    _with_error(row, "newly_fixed", 1, ".2f"),
                    _with_error(row, "newly_broken", 1, ".2f"),
                ]
                for selector, row in selectors.items()
            ],
            right=["fixed", "median steps", "accuracy change, pp", "others fixed", "others broken"],
        )


def _with_error(row: dict[str, Any], name: str, scale: float, style: str) -> str:
    error = row[f"{name}_standard_error"]
    around = "" if error is None else f" ± {scale * error:.2f}"
    return f"{scale * row[name]:{style}}{around}"
