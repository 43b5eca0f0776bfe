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
    FADING = "fading"
    MISLABELS = "mislabels"


def study(
    context: typer.Context,
    project: ProjectArgument,
    kind: Annotated[
        Kind,
        typer.Argument(
            help="correction: how well each strategy fixes, beside random examples. lds: how well each method "
            "foretells what training without some of the data does. fading: for how many further steps of training "
            "it foretells what an example does. mislabels: how well wrong training labels are told from right ones."
        ),
    ],
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            metavar="a,b",
            help="Methods to measure, or detectors of label errors. If not given: of correction the best here, tracin "
            "and representation; else all that are quick.",
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
        int | None,
        typer.Option(
            "--steps",
            min=1,
            metavar="N",
            help=f"Of correction: fine-tuning steps at most ({FixSettings.steps} if not given); of fading: further "
            "steps of training (400).",
        ),
    ] = None,
    mispredictions: Annotated[
        int,
        typer.Option("--mispredictions", min=1, metavar="N", help="Of correction: mispredictions at most."),
    ] = 200,
    subsets: Annotated[
        int,
        typer.Option("--subsets", min=1, metavar="N", help="Of lds: random halves of the training data."),
    ] = 50,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds", min=1, metavar="N", help="Of lds: models trained on each half; of mislabels: models."
        ),
    ] = 2,
    examples: Annotated[
        int,
        typer.Option(
            "--examples", min=1, metavar="N", help="Of fading: training examples whose weight is changed."
        ),
    ] = 20,
    queries: Annotated[
        int | None,
        typer.Option(
            "--queries",
            min=1,
            metavar="N",
            help="Of lds and fading: test examples, mispredictions first (20 and 10 if not given).",
        ),
    ] = None,
    measurement: Annotated[
        str,
        typer.Option(
            "--measurement", metavar="X", help="Of lds and fading: what is measured of a test example."
        ),
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
        for name in names or [] if kind is not Kind.MISLABELS else []:
            check_method(name)
        for name in chosen or []:
            check_strategy(name)
        ready, rest = opened(project, place(context, projects), reporter)
        from attribution.engine import Engine

        engine = Engine(ready)
        if kind is Kind.LDS:
            from attribution.studies.lds import QUERIES, lds_study

            result = lds_study(
                engine,
                methods=names,
                measurement=measurement,
                subsets=subsets,
                seeds=seeds,
                queries=queries or QUERIES,
                seed=seed,
                reporter=rest,
            )
        elif kind is Kind.FADING:
            from attribution.studies.fading import QUERIES, STEPS, fading_study

            result = fading_study(
                engine,
                methods=names,
                measurement=measurement,
                steps=steps or STEPS,
                examples=examples,
                queries=queries or QUERIES,
                seed=seed,
                reporter=rest,
            )
        elif kind is Kind.MISLABELS:
            from attribution.studies.mislabels import mislabel_study

            result = mislabel_study(engine, detectors=names, seeds=seeds, seed=seed, reporter=rest)
        else:
            from attribution.studies.correction import correction_study

            result = correction_study(
                engine,
                methods=names,
                strategies=chosen or tuple(STRATEGIES),
                top=top,
                steps=steps or FixSettings.steps,
                seed=seed,
                most=mispredictions,
                reporter=rest,
            )
    if json:
        print_json(result)
    else:
        _SHOWN[kind](result)


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


def _show_fading(result: dict[str, Any]) -> None:
    print_line(
        f"{_count(len(result['train_ids']), 'training example')} weighted a little more and less, one at a time; "
        f"{_count(len(result['test_ids']), 'test example')}; training goes on at a learning rate of "
        f"{result['learning_rate']:.2g}."
    )
    print_table(
        f"Correlation of score and effect ({result['measurement']}) after so many further steps, Pearson",
        ["method", *(f"{step:,}" for step in result["steps"]), "holds until"],
        [
            [
                name,
                *(f"{value:.2f}" for value in row["pearson"]),
                _until(result["holds_until"][name], result["steps"]),
            ]
            for name, row in result["methods"].items()
        ],
        right=[f"{step:,}" for step in result["steps"]],
    )


def _show_mislabels(result: dict[str, Any]) -> None:
    numbers = " and ".join(f"{count:,}" for count in result["wrong"])
    where = "planted at random; the model was trained on them" if result["planted"] else "known from the data"
    print_line(f"{numbers} wrong training labels, {where}; ± one standard error.")
    print_table(
        "How often a wrong label looks more suspicious than a right one (area under the curve)",
        ["detector", "area", "seconds"],
        [
            [name, f"{row['auc']:.3f} ± {row['standard_error']:.3f}", f"{row['seconds']:.2f}"]
            for name, row in sorted(result["detectors"].items(), key=lambda pair: -pair[1]["auc"])
        ],
        right=["seconds"],
    )


def _until(held: int | None, steps: list[int]) -> str:
    """The last step at which scores still foretell effects, in words."""
    if held is None:
        return "not at all"
    return f"step {held:,}" if held < steps[-1] else f"step {held:,} or longer"


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


_SHOWN = {
    Kind.CORRECTION: _show_correction,
    Kind.LDS: _show_lds,
    Kind.FADING: _show_fading,
    Kind.MISLABELS: _show_mislabels,
}
