"""The command that measures methods and strategies on a project: study."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from attribution.fixing import STRATEGIES, FixSettings, check_strategy
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
    LDS = "lds"


def study(
    context: typer.Context,
    project: ProjectArgument,
    kind: Annotated[
        Kind,
        typer.Argument(
            help="correction: how well each strategy fixes, beside random examples. lds: how well each method "
            "foretells what training without some of the data does."
        ),
    ],
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            metavar="a,b",
            help="Methods to measure. If not given: of correction the best here, tracin and representation; of lds all "
            "that are quick.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")] = FixSettings.seed,
    strategies: Annotated[
        str | None,
        typer.Option(
            "--strategies",
            metavar="a,b",
            help="Of correction: the strategies; all if not given.",
        ),
    ] = None,
    top: TopOption = FixSettings.top,
    steps: Annotated[
        int, typer.Option("--steps", min=1, metavar="N", help="Of correction: fine-tuning steps at most.")
    ] = FixSettings.steps,
    mispredictions: Annotated[
        int,
        typer.Option("--mispredictions", min=1, metavar="N", help="Of correction: mispredictions at most."),
    ] = 200,
    subsets: Annotated[
        int,
        typer.Option("--subsets", min=1, metavar="N", help="Of lds: random halves of the training data."),
    ] = 50,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, metavar="N", help="Of lds: models trained on each half.")
    ] = 2,
    queries: Annotated[
        int,
        typer.Option("--queries", min=1, metavar="N", help="Of lds: test examples, mispredictions first."),
    ] = 20,
    measurement: Annotated[
        str, typer.Option("--measurement", metavar="X", help="Of lds: what is measured of a test example.")
    ] = "margin",
    json: JsonOption = False,
    projects: ProjectsOption = None,
) -> None:
    """Measure on this project's own data; the result is stored under PROJECT/studies.

    A study that is stopped goes on where it was.
    """
    names = separated("--methods", methods)
    chosen = separated("--strategies", strategies)
    with working() as reporter:
        for name in names or []:
            check_method(name)
        for name in chosen or []:
            check_strategy(name)
        ready, rest = opened(project, place(context, projects), reporter)
        from attribution.engine import Engine

        if kind is Kind.LDS:
            from attribution.studies.lds import lds_study

            result = lds_study(
                Engine(ready),
                methods=names,
                measurement=measurement,
                subsets=subsets,
                seeds=seeds,
                queries=queries,
                seed=seed,
                reporter=rest,
            )
        else:
            from attribution.studies.correction import correction_study

            result = correction_study(
                Engine(ready),
                methods=names,
                strategies=chosen or tuple(STRATEGIES),
                top=top,
                steps=steps,
                seed=seed,
                most=mispredictions,
                reporter=rest,
            )
    if json:
        print_json(result)
    elif kind is Kind.LDS:
        _show_lds(result)
    else:
        _show_correction(result)


def _show_lds(result: dict[str, Any]) -> None:
    reach = "" if result["ceiling"] is None else f" A perfect prediction would reach {result['ceiling']:.2f}."
    start = f", from step {result['from_step']} of the run" if result["from_step"] else ""
    print_line(
        f"{_count(len(result['test_ids']), 'test example')}, {result['subsets']} random halves of the training data "
        f"with {_count(result['seeds'], 'model')} each{start}; ± one standard error over test examples.{reach}"
    )
    print_table(
        "LDS",
        ["method", f"rank correlation with retraining ({result['measurement']})", "seconds"],
        [
            [name, f"{row['lds']:.3f} ± {row['standard_error']:.3f}", f"{row['seconds']:.2f}"]
            for name, row in sorted(result["methods"].items(), key=lambda pair: -pair[1]["lds"])
        ],
        right=["seconds"],
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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
