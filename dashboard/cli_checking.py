"""The command that looks at a project before work starts: check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from attribution.progress import SILENT
from dashboard.cli_options import Device, DeviceOption, JsonOption, ProjectArgument, ProjectsOption, place
from dashboard.cli_terminal import print_json, print_line, print_table, working

if TYPE_CHECKING:
    from attribution.checking import CheckReport

MARKS = {"ok": "✓ ok", "note": "i note", "warning": "! warning", "problem": "✗ problem"}
"""How a severity is shown: by sign and word."""


def check(
    context: typer.Context,
    project: ProjectArgument,
    device: DeviceOption = Device.AUTO,
    json: JsonOption = False,
    projects: ProjectsOption = None,
) -> None:
    """Look at a project before work starts: do model and data fit each other, and what will preparing take?

    Exit status 1 where a problem would make results wrong or preparing fail; warnings and notes leave it at 0.
    --json: {"project", "problems", "warnings", "findings": [{"name", "severity": ok|note|warning|problem, "sentence",
    "remedy", "numbers": {…}}]}.
    """
    from dashboard.opening import open_project

    where = place(context, projects)
    with working() as reporter:
        opened = open_project(project, where.projects, SILENT, prefer_named=where.chosen)
        from attribution.checking import check_project

        report = check_project(opened, device=device.value, reporter=reporter)
    if json:
        print_json(report.contract())
    else:
        show_report(report)
    if report.problems:
        raise typer.Exit(1)


def show_report(report: CheckReport) -> None:
    """All findings as a table, and the verdict."""
    print_table(
        f"Check of {report.project}",
        ["", "about", "found"],
        [
            [MARKS[finding.severity], finding.name, f"{finding.sentence}\n{finding.remedy}".strip()]
            for finding in report.findings
        ],
    )
    print_line(report.verdict)


def show_doubts(report: CheckReport) -> None:
    """Warnings and problems alone, a line each; one line where there are none."""
    for finding in report.doubts:
        print_line(f"{MARKS[finding.severity]}: {finding.sentence} {finding.remedy}".strip())
    if not report.doubts:
        print_line("Checked: everything fits.")
