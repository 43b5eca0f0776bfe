"""`tracefix`: the command line. Each command is one function; COMMANDS lists them.

Nothing heavy is imported before a command needs it, so that help and `tracefix methods` answer at once.
Exit status: 0 done, 1 failed (one line on stderr says what and how to mend it), 2 wrong usage.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from attribution.errors import Cancelled, TracefixError, UsageError
from dashboard import cli_checking, cli_projects, cli_results, cli_studies, cli_tracing, cli_verification
from dashboard.addresses import THIS_MACHINE
from dashboard.cli_options import AddressOption, NoBrowserOption, PortOption, ProjectsOption, ReadOnlyOption
from dashboard.cli_terminal import print_error

COMMANDS: tuple[Callable[..., None], ...] = (
    cli_projects.demo,
    cli_projects.new,
    cli_checking.check,
    cli_projects.prepare,
    cli_tracing.mispredictions,
    cli_tracing.explain,
    cli_tracing.fix,
    cli_verification.verify,
    cli_results.report,
    cli_results.export,
    cli_studies.study,
    cli_tracing.methods,
)

DEBUG_VARIABLE = "TRACEFIX_DEBUG"
INTERRUPTED = 130

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
for _command in COMMANDS:
    app.command(_command.__name__)(_command)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        sys.stdout.write(f"tracefix {version('tracefix')}\n")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def dashboard(
    context: typer.Context,
    port: PortOption = None,
    address: AddressOption = THIS_MACHINE,
    read_only: ReadOnlyOption = False,
    no_browser: NoBrowserOption = False,
    projects: ProjectsOption = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Trace a model's misprediction to the training examples behind it, and fix it in a few steps.

    Without a command: open the dashboard in the browser.
    """
    if context.invoked_subcommand is None:
        from dashboard.launch import serve
        from dashboard.locations import projects_directory

        serve(
            projects_directory(projects),
            port=port,
            address=address,
            read_only=read_only,
            open_browser=not no_browser,
        )
    elif port is not None or no_browser or read_only or address != THIS_MACHINE:
        raise UsageError(
            "--port, --address, --read-only and --no-browser before a command are for the dashboard: give them to "
            "tracefix demo after its name."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    _quiet_libraries()
    try:
        status = typer.main.get_command(app).main(args=arguments, prog_name="tracefix", standalone_mode=False)
    except typer.TyperException as error:
        return _failed(error, _usage_sentence(error), status=error.exit_code, kind="Usage")
    except UsageError as error:
        return _failed(error, str(error), status=2, kind="Usage")
    except Cancelled as error:
        return _failed(error, str(error).removeprefix("Cancelled: "), kind="Cancelled")
    except TracefixError as error:
        return _failed(error, str(error))
    except Exception as error:
        text = " ".join(str(error).split())
        described = f"{type(error).__name__}: {text}" if text else type(error).__name__
        return _failed(error, f"{described}. Set {DEBUG_VARIABLE}=1 to see where.", kind="Unexpected error")
    if status == INTERRUPTED:
        print_error(
            "Stopped at once; run the same command again to start over or continue.", kind="Interrupted"
        )
    return status if isinstance(status, int) else 0


def run() -> None:
    """Entry point of the `tracefix` script."""
    sys.exit(main())


def _failed(error: BaseException, sentence: str, *, status: int = 1, kind: str = "Error") -> int:
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    print_error(sentence, kind)
    return status


def _usage_sentence(error: Any) -> str:
    """What click says is wrong, as one sentence that names the command whose help tells more."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "tracefix"
    sentence = error.format_message().strip().rstrip(".")
    return f"{sentence}. See {command} --help."


def _quiet_libraries() -> None:
    """Keep libraries from downloading, from drawing progress bars of their own and from thinking aloud; users' settings
    win."""
    for name, value in {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }.items():
        os.environ.setdefault(name, value)
    # Of torch, once a process, for convolutions; nothing that a user could change.
    warnings.filterwarnings(
        "ignore", message="There is a performance drop because we have not yet implemented"
    )


if __name__ == "__main__":
    run()
