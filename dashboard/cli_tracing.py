"""The commands that answer questions about a project: mispredictions, explain, fix, methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attribution.errors import ProjectError, UsageError
from attribution.fixing import STRATEGIES, FixSettings, also_ids, check_strategy, read_edits
from dashboard.cli_options import (
    AlsoOption,
    JsonOption,
    ProjectArgument,
    ProjectsOption,
    TestIdArgument,
    TopOption,
    check_method,
    opened,
    place,
    separated,
)
from dashboard.cli_terminal import print_json, print_line, print_table, shown, working
from dashboard.views.accuracy import percent
from dashboard.views.fixes import fixed_words, significance, steps_sentence, stop_sentence
from dashboard.views.stacks import stack_sentence

if TYPE_CHECKING:
    import numpy as np

    from attribution.projects import FixRecord, Project

_CHOOSING = {
    "test": "trains on the test example itself",
    "suggest": "chooses training examples itself",
}
"""Strategies that take no training examples from the user."""


def mispredictions(
    context: typer.Context,
    project: ProjectArgument,
    clusters: Annotated[
        bool, typer.Option("--clusters", help="Clusters of errors of a common cause instead, largest first.")
    ] = False,
    json: JsonOption = False,
    projects: ProjectsOption = None,
) -> None:
    """List the test examples that the model gets wrong, worst loss first."""
    with working() as reporter:
        ready, _ = opened(project, place(context, projects), reporter)
        rows = ready.mispredictions()
    if clusters:
        _show_clusters(ready, json)
    elif json:
        print_json(rows)
    elif not rows:
        print_line(f"{ready.title}: the model gets every test example right, so there is nothing to trace.")
    else:
        print_table(
            f"{ready.title}: {len(rows)} of {len(ready.predictions('test'))} test examples are wrong",
            ["id", "true", "predicted", "confidence", "loss", "input"],
            [
                [
                    r["id"],
                    r["true"],
                    r["predicted"],
                    percent(r["confidence"]),
                    f"{r['loss']:.3f}",
                    shown(r["input"]),
                ]
                for r in rows
            ],
            right=["confidence", "loss"],
        )


def explain(
    context: typer.Context,
    project: ProjectArgument,
    test_id: TestIdArgument,
    also: AlsoOption = None,
    method: Annotated[
        str | None,
        typer.Option("--method", metavar="M", help="One of `tracefix methods`; the best here if not given."),
    ] = None,
    measurement: Annotated[
        str,
        typer.Option(
            "--measurement",
            metavar="X",
            help="margin, loss, logit:CLASS, a name that the task gives (Task(measurements=...)), or FILE.py:FUNCTION.",
        ),
    ] = "margin",
    top: TopOption = 20,
    scores: Annotated[
        Path | None,
        typer.Option("--scores", metavar="OUT.npy", help="Write all scores, float32, in training order."),
    ] = None,
    refine: Annotated[
        bool,
        typer.Option("--refine", help="Invert the curvature exactly, by conjugate gradients: truer, slower."),
    ] = False,
    index: Annotated[
        bool, typer.Option("--index/--no-index", help="Without the index, every score is exact; slower.")
    ] = True,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage",
            metavar="NAME",
            help="The training examples of this earlier stage instead (see tracefix new --after).",
        ),
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average over all trained models that the project has.")
    ] = False,
    json: JsonOption = False,
    projects: ProjectsOption = None,
) -> None:
    """Name the training examples that pushed a prediction towards its class (culprits) or away from it (helpers).

    Of several test examples, those that are behind the most of them come first.
    """
    check_method(method)
    test_ids = [test_id, *also_ids(also)]
    if stage is not None and also is not None:
        raise UsageError("--stage explains one test example: leave --also out.")
    if stage is not None and (ensemble or refine or method not in (None, "source")):
        raise UsageError(
            "--stage follows the training by the method source: leave --method, --refine and --ensemble out."
        )
    if scores is not None and not scores.absolute().parent.is_dir():
        raise ProjectError(f"Cannot write '{scores}': its folder does not exist; make it first.")
    with working() as reporter:
        ready, rest = opened(project, place(context, projects), reporter)
        _check_ids(ready, test_ids)
        from attribution.engine import Engine
        from dashboard.opening import prepared_stages

        engine = Engine(ready)
        if stage is not None:
            explanation = engine.explain_stage(
                test_id,
                [Engine(project) for project in prepared_stages(ready, stage, rest.share(0.0, 0.5))],
                measurement=measurement,
                use_index=index,
                reporter=rest.share(0.5, 1.0),
            )
        else:
            explanation = engine.explain_group(
                test_ids,
                method=method,
                measurement=measurement,
                use_index=index,
                refine=refine,
                ensemble=ensemble,
                reporter=rest,
            )
    if scores is not None:
        _write_scores(scores, explanation.scores)
    document = explanation.contract(top)
    if json:
        print_json(document)
    else:
        _show_explanation(document)


def fix(
    context: typer.Context,
    project: ProjectArgument,
    test_id: TestIdArgument,
    also: AlsoOption = None,
    strategy: Annotated[
        str,
        typer.Option(
            "--strategy",
            metavar="S",
            help="; ".join(f"{name} {does}" for name, does in STRATEGIES.items()) + ".",
        ),
    ] = FixSettings.strategy,
    top: Annotated[
        int | None,
        typer.Option(
            "--top", min=1, metavar="K", help=f"How many training examples: {FixSettings.top} if not given."
        ),
    ] = None,
    train_ids: Annotated[
        str | None,
        typer.Option("--train-ids", metavar="a,b", help="These training examples instead of --top."),
    ] = None,
    edits: Annotated[
        Path | None,
        typer.Option(
            "--edits", metavar="FILE", help="These edits instead: an edits.csv of `tracefix export`."
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", min=1, metavar="N", help="Fine-tuning steps at most.")
    ] = FixSettings.steps,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")] = FixSettings.seed,
    guard: Annotated[
        int | None,
        typer.Option(
            "--guard", min=0, metavar="N", help="Stop before more than N other test predictions would break."
        ),
    ] = FixSettings.guard,
    on: Annotated[
        str | None,
        typer.Option(
            "--on", metavar="FIX_ID", help="Start from this fix's model, and fix what that model gets wrong."
        ),
    ] = None,
    json: JsonOption = False,
    projects: ProjectsOption = None,
) -> None:
    """Fix one prediction, or several at once, in a few steps on a copy of the model, beside controls; keep it."""
    test_ids = [test_id, *also_ids(also)]
    chosen = separated("--train-ids", train_ids)
    if [chosen, top, edits].count(None) < 2:
        raise UsageError("--top, --train-ids and --edits exclude one another: give one of them.")
    given = None if edits is None else read_edits(edits)
    with working() as reporter:
        check_strategy(strategy)  # better said now than after minutes of preparing
        if strategy in _CHOOSING and (chosen or top is not None):
            raise UsageError(
                f"The strategy '{strategy}' {_CHOOSING[strategy]}: leave --top and --train-ids out."
            )
        ready, rest = opened(project, place(context, projects), reporter)
        _check_ids(ready, test_ids)
        if on is not None:
            ready.history.stack(on)  # better said now than after an explanation
        from attribution.engine import Engine

        record = Engine(ready).fix(
            test_ids,
            strategy=strategy,
            edits=given,
            train_ids=chosen,
            top=FixSettings.top if top is None else top,
            steps=steps,
            seed=seed,
            guard=guard,
            base=on,
            reporter=rest,
        )
    ready.history.save(record, state="kept")
    if json:
        print_json(record.contract())
    else:
        _show_fix(record)


def methods(json: JsonOption = False) -> None:
    """List the attribution methods: what each needs and costs."""
    from attribution.methods import list_methods

    known = list_methods()
    if json:
        print_json([m.contract() for m in known])
        return
    print_table(
        "Methods",
        ["name", "needs", "cost", "title and source"],
        [[m.name, ", ".join(m.needs) or "nothing more", m.cost, f"{m.title}: {m.citation}"] for m in known],
        wrapped=["needs", "cost"],
    )


def _write_scores(file: Path, scores: np.ndarray) -> None:
    import numpy

    try:
        with file.open("wb") as stream:  # an open file, because numpy adds .npy to a name that lacks it
            numpy.save(stream, scores.astype(numpy.float32, copy=False))
    except OSError as error:
        raise ProjectError(
            f"Cannot write '{file}' ({error.strerror or error}): choose another place."
        ) from error


def _show_clusters(project: Project, json: bool) -> None:
    from attribution.error_clusters import error_clusters

    found = error_clusters(project)
    if json:
        print_json([cluster.contract() for cluster in found])
    elif not found:
        print_line(f"{project.title}: no two mispredictions have a common cause.")
    else:
        print_table(
            f"{project.title}: mispredictions of a common cause, to explain or fix together with --also",
            ["errors", "cluster", "ids"],
            [[str(len(c.test_ids)), c.name, ",".join(c.test_ids)] for c in found],
            right=["errors"],
            wrapped=["cluster", "ids"],
        )


def _show_explanation(document: dict[str, Any]) -> None:
    examples = document.get("examples", [document["example"]])
    for example in examples:
        print_line(
            f"{example['id']}: true {example['true']}, predicted {example['predicted']}  {shown(example['input'])}"
        )
    print_line(f"Method {document['method']}, measurement {document['measurement']}")
    sides = {"culprits": "Culprits (pushed it there)", "helpers": "Helpers (pushed against it)"}
    for side, title in sides.items():
        group = len(examples) > 1
        rows = [
            [
                row["id"],
                *([f"{row['explains']} of {len(examples)}"] if group else []),
                f"{row['score']:+.4g}",
                row["label"],
                shown(row["input"]),
            ]
            for row in document[side]
        ]
        columns = ["id", *(["explains"] if group else []), "score", "label", "input"]
        print_table(title, columns, rows, right=["score"])
    sentence = document["trust"].get("sentence")
    if sentence:
        print_line(sentence)


def _check_ids(project: Project, test_ids: Sequence[str]) -> None:
    """Raise `NotFoundError` unless all are test examples of the project."""
    for test_id in test_ids:
        project.position("test", test_id)


def _show_fix(record: FixRecord) -> None:
    if len(record.targets) > 1:
        print_line(
            f"{record.fixed_count} of {len(record.targets)} are fixed ({record.strategy}). {steps_sentence(record)}"
        )
        print_table(
            "Each of them",
            ["id", "true", "before", "after", "fixed"],
            [
                [t.test_id, t.true, t.before.predicted, t.after.predicted, "yes" if t.fixed else "no"]
                for t in record.targets
            ],
        )
    else:
        outcome = "fixed" if record.fixed else "not fixed"
        print_line(
            f"{record.test_id} is {outcome} ({record.strategy}): {record.before.predicted} -> "
            f"{record.after.predicted}, true {record.true}. {steps_sentence(record)}"
        )
    stop = stop_sentence(record)
    if stop is not None:
        print_line(stop)
    for reason in record.suggestion:
        print_line(reason)
    print_line(
        f"Test accuracy {percent(record.accuracy_before, 2)} -> {percent(record.accuracy_after, 2)}"
        f"{significance(record)}; "
        f"{len(record.newly_fixed)} other predictions fixed, {len(record.newly_broken)} broken."
    )
    if record.calibration_before is not None and record.calibration_after is not None:
        print_line(
            f"Expected calibration error {percent(record.calibration_before, 2)} -> "
            f"{percent(record.calibration_after, 2)}."
        )
    print_table(
        "The same with other training examples (controls)",
        ["control", "fixed", "steps", "accuracy after"],
        [
            [c.title, fixed_words(record, c), str(c.steps), percent(c.accuracy_after, 2)]
            for c in record.controls
        ],
        right=["steps", "accuracy after"],
    )
    if record.stack is not None:
        print_line(stack_sentence(record))
    print_line(f"Kept in the history as {record.fix_id}.")
