"""Arguments and options that several commands of the command line share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attribution.errors import UsageError
from attribution.progress import Reporter

if TYPE_CHECKING:
    from attribution.projects import Project


OPENING_SHARE = 0.8
"""Part of a command's progress bar that making and preparing takes where it is needed."""


class Device(StrEnum):
    """Where the model runs; ``auto`` takes the fastest there is."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class Precision(StrEnum):
    """Numbers in which gradients are computed."""

    FP32 = "fp32"
    BF16 = "bf16"


ProjectArgument = Annotated[
    str,
    typer.Argument(
        metavar="PROJECT",
        help="Project directory, or the name of a sample or project. A name means the project in the folder "
        "of that name here, if there is one, else the one in the projects folder.",
        show_default=False,
    ),
]
TestIdArgument = Annotated[
    str, typer.Argument(metavar="TEST_ID", help="Id of a test example.", show_default=False)
]
AlsoOption = Annotated[
    str | None,
    typer.Option(
        "--also",
        metavar="a,b",
        help="Further test examples, together with TEST_ID; an id with a comma in it in quotation marks.",
        show_default=False,
    ),
]
ProjectsOption = Annotated[
    Path | None,
    typer.Option(
        "--projects",
        metavar="DIR",
        help="Folder of the projects that go by name: $TRACEFIX_HOME/projects if not given, else "
        "~/.tracefix/projects. Given, a name is looked up there first.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write one JSON document to stdout, nothing else.")]
TopOption = Annotated[int, typer.Option("--top", min=1, metavar="K", help="How many training examples.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where the model runs.")]
PortOption = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=1,
        max=65535,
        help="Port of the dashboard: the first free one from 8501 on if not given.",
        show_default=False,
    ),
]
AddressOption = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="ADDR",
        help="Where the dashboard listens: this machine alone if not given; 0.0.0.0 is all its addresses.",
    ),
]
ReadOnlyOption = Annotated[
    bool, typer.Option("--read-only", help="The dashboard changes nothing: no fixes, notes or preparing.")
]
NoBrowserOption = Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")]


@dataclass(frozen=True)
class Place:
    """The folder of named projects, and whether the user chose it."""

    projects: Path
    chosen: bool


def place(context: typer.Context, projects: Path | None) -> Place:
    """The projects folder, ``--projects`` being accepted after the command as well as before it."""
    from dashboard.locations import projects_directory

    given = projects or context.find_root().params.get("projects")
    return Place(projects_directory(given), chosen=given is not None)


def opened(project: str, where: Place, reporter: Reporter) -> tuple[Project, Reporter]:
    """The project, ready for questions, and a reporter for what follows: the whole bar if nothing had to be done."""
    from dashboard.opening import open_prepared

    reports = 0

    def note(fraction: float, message: str) -> None:
        nonlocal reports
        reports += 1
        reporter(OPENING_SHARE * fraction, message)

    ready = open_prepared(project, where.projects, Reporter(note), prefer_named=where.chosen)
    return ready, reporter.share(OPENING_SHARE if reports else 0.0, 1.0)


def separated(option: str, text: str | None) -> list[str] | None:
    """A comma-separated option as its parts, in order and each once; None if it was not given.

    Raises:
        UsageError: nothing between the commas.
    """
    if text is None:
        return None
    parts = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parts:
        raise UsageError(f"{option} is empty: give names separated by commas.")
    return parts


def check_method(name: str | None) -> None:
    """Refuse an unknown method before anything slow starts.

    Raises:
        NotFoundError: no such method, with the near ones.
    """
    if name is not None:
        from attribution.methods import method_named

        method_named(name)
