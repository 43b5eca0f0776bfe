"""The commands that make projects and get them ready: demo, new, prepare."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from attribution.errors import UsageError
from dashboard.addresses import THIS_MACHINE
from dashboard.cli_options import (
    AddressOption,
    Device,
    DeviceOption,
    NoBrowserOption,
    PortOption,
    Precision,
    ProjectArgument,
    ProjectsOption,
    ReadOnlyOption,
    check_method,
    opened,
    place,
    separated,
)
from dashboard.cli_terminal import print_line, working
from dashboard.views.accuracy import percent


def demo(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[SAMPLE]", help="A bundled sample.", show_default=False)
    ] = None,
    prepare_only: Annotated[
        bool, typer.Option("--prepare-only", help="Make and prepare the sample, then stop.")
    ] = False,
    projects: ProjectsOption = None,
    port: PortOption = None,
    address: AddressOption = THIS_MACHINE,
    read_only: ReadOnlyOption = False,
    no_browser: NoBrowserOption = False,
) -> None:
    """Make and prepare a bundled sample, then open the dashboard on its mispredictions."""
    from dashboard.addresses import check_address
    from dashboard.launch import free_port, serve

    where = place(context, projects)
    start = partial(
        serve,
        where.projects,
        port=port,
        address=address,
        read_only=read_only,
        open_browser=not no_browser,
    )
    if name is None:
        if prepare_only:
            raise UsageError(
                "--prepare-only needs the name of a sample: tracefix demo digits --prepare-only."
            )
        start()
        return
    if not prepare_only:  # better said now than after minutes of preparing
        check_address(address)
        free_port(port, address)
    from dashboard.locations import ensure_sample
    from dashboard.opening import CREATION_SHARE

    with working() as reporter:
        directory = ensure_sample(name, where.projects, reporter.share(0.0, CREATION_SHARE))
        ready, _ = opened(str(directory), where, reporter.share(CREATION_SHARE, 1.0))
        wrong, tested = len(ready.mispredictions()), len(ready.predictions("test"))
    print_line(
        f"{ready.title} is ready in {ready.directory}: {wrong} of {tested} test examples are mispredicted."
    )
    if not prepare_only:
        start(page=f"/mispredictions?project={name}")


def prepare(
    context: typer.Context,
    project: ProjectArgument,
    methods: Annotated[
        str | None,
        typer.Option("--methods", metavar="a,b", help="Methods to prepare; the usual ones if not given."),
    ] = None,
    device: DeviceOption = Device.AUTO,
    precision: Annotated[
        Precision, typer.Option("--precision", help="Numbers of the gradients.")
    ] = Precision.FP32,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where an interrupted preparation stopped (always the case)."),
    ] = False,
    projects: ProjectsOption = None,
) -> None:
    """Compute and store what every answer needs: predictions and the index of training gradients. Done once."""
    wanted = separated("--methods", methods)
    for method in wanted or ():
        check_method(method)
    from dashboard.locations import remember
    from dashboard.opening import CREATION_SHARE, discard_damaged, open_project

    where = place(context, projects)
    with working() as reporter:
        target = open_project(
            project, where.projects, reporter.share(0.0, CREATION_SHARE), prefer_named=where.chosen
        )
        discard_damaged(target)
        from attribution.preparation import prepare as prepare_project
        from attribution.projects import Project

        prepare_project(
            target,
            methods=wanted,
            device=device.value,
            precision=precision.value,
            reporter=reporter.share(CREATION_SHARE, 1.0),
        )
        ready = Project.open(target.directory)
        remember(ready.directory)
        record = ready.preparation
    print_line(
        f"{ready.title} is prepared in {ready.directory}: {record['n_train']} training and {record['n_test']} test "
        f"examples, test accuracy {percent(record['accuracy'])}."
    )


def new(
    project: Annotated[
        Path, typer.Argument(metavar="PROJECT", help="Directory to make the project in.", show_default=False)
    ],
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="FILE.py:FUNCTION", help="Function that returns attribution.Task."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", metavar="DIR", help="A transformers checkpoint, or a Trainer's output folder."
        ),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            "--train",
            metavar="FILE",
            help="Training table: CSV, TSV, JSON Lines, Parquet, a saved dataset; or pictures in class folders.",
        ),
    ] = None,
    test: Annotated[Path | None, typer.Option("--test", metavar="FILE", help="Test table or folder.")] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="COL", help="Column with texts.")] = None,
    pair: Annotated[
        str | None,
        typer.Option(
            "--pair", metavar="COL", help="Column with the second part, where the model compares two."
        ),
    ] = None,
    image: Annotated[str | None, typer.Option("--image", metavar="COL", help="Column with pictures.")] = None,
    label: Annotated[str, typer.Option("--label", metavar="COL", help="Column with labels.")] = "label",
    checkpoints: Annotated[
        str | None,
        typer.Option(
            "--checkpoints",
            metavar="GLOB|LIST",
            help="Checkpoints of the training run: folders, safetensors or state dicts (.pt, .ckpt), or a CSV or JSON "
            "list with path, step and learning_rate; those of the Trainer's output folder if not given.",
        ),
    ] = None,
    ensemble: Annotated[
        str | None,
        typer.Option("--ensemble", metavar="GLOB", help="Further models, trained alike from other seeds."),
    ] = None,
    trained: Annotated[
        str | None,
        typer.Option(
            "--trained",
            metavar="a,b",
            help="Beginnings of the names of the parameters that were trained (classifier, say); all if not given.",
        ),
    ] = None,
    initial: Annotated[
        str | None,
        typer.Option(
            "--initial",
            metavar="fresh|DIR",
            help="What training started from, for verify: random weights, or the pre-trained model in a folder.",
        ),
    ] = None,
    after: Annotated[
        Path | None,
        typer.Option("--after", metavar="PROJECT", help="The project of the training stage before this one."),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", metavar="COL", help="Column with ids; row numbers if not given.")
    ] = None,
) -> None:
    """Record a model of your own as a project, and check that it loads; nothing is computed yet."""
    from attribution.sources.found_training import training_summary
    from dashboard.locations import remember
    from dashboard.new_project import (
        Table,
        create,
        follows,
        from_function,
        from_tables,
        started_from,
        trained_only,
    )

    tables = {"--model": model, "--train": train, "--test": test}
    extra = {**tables, "--text": text, "--image": image, "--checkpoints": checkpoints, "--id": id_column}
    extra |= {"--pair": pair, "--ensemble": ensemble, "--trained": trained, "--initial": initial}
    if task is not None:
        given = [option for option, value in extra.items() if value is not None]
        if given:
            raise UsageError(f"--task says everything: leave {', '.join(given)} out.")
        manifest = from_function(project, task)
    else:
        missing = [option for option, value in tables.items() if value is None]
        if model is None or train is None or test is None:
            raise UsageError(
                f"{', '.join(missing)} missing: give --model, --train and --test, or --task alone."
            )
        columns = Table(text=text, pair=pair, image=image, label=label, id=id_column)
        manifest = from_tables(project, model, train, test, columns, checkpoints, ensemble)
        if trained is not None:
            manifest = trained_only(manifest, separated("--trained", trained) or [])
        if initial is not None:
            manifest = started_from(manifest, project, initial)
    if after is not None:
        manifest = follows(manifest, project, after)
    found: list[str] = []
    with working() as reporter:
        reporter(0.0, "Checking that it loads")
        made = create(project, manifest, reporter=reporter, tell=found.append)
        remember(made.directory)
    for sentence in found:
        print_line(sentence)
    summary = training_summary(manifest)
    if summary:
        print_line(summary)
    print_line(f"Project '{made.name}' is in {made.directory}. Next: tracefix prepare {project}")
