"""The commands that carry a fix out of its project: report (for people), export (for the next program)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attribution.errors import ProjectError
from dashboard.cli_options import JsonOption, ProjectArgument, ProjectsOption, opened, place
from dashboard.cli_terminal import print_json, print_line, working

FixIdArgument = Annotated[
    str,
    typer.Argument(metavar="FIX_ID", help="Id of a fix, as `tracefix fix` printed it.", show_default=False),
]


def report(
    context: typer.Context,
    project: ProjectArgument,
    fix_id: FixIdArgument,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE.html", help="The page to write; replaced if it exists.")
    ],
    json: JsonOption = False,
    projects: ProjectsOption = None,
) -> None:
    """Write a fix as one HTML page that opens anywhere, offline: what went wrong, why, what was changed, what it did
    and what it cost."""
    if not output.absolute().parent.is_dir() or output.is_dir():
        raise ProjectError(f"Cannot write '{output}': give a file in a folder that exists.")
    with working() as reporter:
        ready, rest = opened(project, place(context, projects), reporter)
        fix = ready.history.get(fix_id)
        from attribution.engine import Engine
        from attribution.projects.files import write_text
        from dashboard.report import report_of

        page = report_of(Engine(ready), fix, reporter=rest)
        write_text(output.absolute(), page)
    size = len(page.encode())
    if json:
        print_json({"fix_id": fix_id, "file": str(output.absolute()), "bytes": size})
    else:
        print_line(
            f"The report of {fix_id} is in {output} ({size / 1e6:.1f} MB): one file, no network needed."
        )


def export(
    context: typer.Context,
    project: ProjectArgument,
    fix_id: FixIdArgument,
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="The folder to write; it must be new or empty.")
    ],
    json: JsonOption = False,
    projects: ProjectsOption = None,
) -> None:
    """Write the edits, the patched model and the command that makes it again into a folder."""
    with working() as reporter:
        ready, rest = opened(project, place(context, projects), reporter)
        ready.history.get(fix_id)
        from attribution.engine import Engine
        from attribution.fixing import export_fix

        exported = export_fix(Engine(ready), fix_id, output, reporter=rest)
    if json:
        print_json(
            {
                "fix_id": fix_id,
                "directory": str(exported.directory),
                "files": exported.files,
                "command": exported.command,
                "before": list(exported.before),
                "difference": exported.difference,
            }
        )
        return
    print_line(f"{fix_id} is in {output}: {', '.join(exported.files)}.")
    print_line(
        "The replay gave the recorded probabilities bit for bit."
        if exported.difference == 0
        else f"The replay gave the recorded probabilities to {exported.difference:.1e}."
    )
    for command in exported.before:
        print_line(f"First the fix beneath: {command}")
    print_line(f"To make it again: {exported.command}")
