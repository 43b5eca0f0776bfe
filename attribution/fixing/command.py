"""The command line that makes a recorded fix again. Light: no torch."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from attribution.errors import UsageError
from attribution.fixing.strategies import ACTIONS
from attribution.projects import Edit, FixRecord

EDITS_FILE = "edits.csv"

COLUMNS = ("id", "action", "old label", "new label", "reason")
"""Of `EDITS_FILE`."""

_FORMULA = "[=+\\-@\t\r\n＝＋－＠]"
"""What a cell begins with that a spreadsheet may take for a formula and run (OWASP, "CSV Injection")."""


def said_by_ids(fix: FixRecord) -> bool:
    """Whether strategy and training ids alone say the edits: one action for all, and ids without commas."""
    action = ACTIONS.get(fix.strategy)
    return all(
        edit.action == action
        and (edit.action != "relabel" or edit.label == fix.true)
        and edit.train_id == edit.train_id.strip()
        and edit.train_id
        and "," not in edit.train_id
        for edit in fix.edits
    )


def also_option(test_ids: Sequence[str]) -> str:
    """Further test ids as the value of ``--also``: separated by commas, quoted as in a CSV file where need be."""
    plain = all(one == one.strip() and one and not set(one) & set(',"\r\n') for one in test_ids)
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_MINIMAL if plain else csv.QUOTE_ALL, lineterminator="").writerow(
        test_ids
    )
    return line.getvalue()


def also_ids(text: str | None) -> list[str]:
    """The ids of `also_option`; none if it was not given.

    Raises:
        UsageError: nothing between the commas, or a quotation mark that is not closed.
    """
    if text is None:
        return []
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise UsageError(f"--also cannot be read ({error}): give test ids separated by commas.") from error
    ids = [one for row in rows for one in row]
    if not ids or not all(ids):
        raise UsageError("--also has an empty id: give test ids separated by commas.")
    return ids


def replay_command(project: str | Path, fix: FixRecord, edits_file: str | Path = EDITS_FILE) -> str:
    """``tracefix fix …`` with the recorded edits, steps and seed, quoted for a POSIX shell.

    Args:
        edits_file: where the exported edits lie; named where strategy and ids do not say the edits.
    """
    options = ["--strategy", fix.strategy]
    if fix.strategy == "test":  # no training examples
        pass
    elif said_by_ids(fix):
        options += ["--train-ids", ",".join(edit.train_id for edit in fix.edits)]
    else:
        options += ["--edits", str(edits_file)]
    options += ["--steps", str(fix.max_steps), "--seed", str(fix.seed)]
    if fix.guard is not None:
        options += ["--guard", str(fix.guard)]
    others = fix.test_ids[1:]
    if others:
        options.append(f"--also={also_option(others)}")
    if fix.base is not None:
        options += ["--on", fix.base]
    what = [str(project), fix.test_id]
    if fix.test_id.startswith("-"):  # else it would be read as an option
        return shlex.join(["tracefix", "fix", *options, "--", *what])
    return shlex.join(["tracefix", "fix", *what, *options])


def read_edits(file: Path) -> list[Edit]:
    """The edits of an exported ``edits.csv``: columns id, action and, where relabelled, new label.

    Raises:
        UsageError: no such file, or a row that is no edit.
    """
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"'{file}' cannot be read ({error}): give the edits.csv of an export.") from error
    return [_edit(file, number, row) for number, row in enumerate(rows, start=2)]


def _edit(file: Path, line: int, row: dict[str, str]) -> Edit:
    train_id, action, label = (_as_written(row.get(name) or "") for name in ("id", "action", "new label"))
    if not train_id or action not in ("upweight", "relabel", "remove") or (action == "relabel" and not label):
        raise UsageError(
            f"'{file}' line {line} is no edit: give an id, an action (upweight, relabel or remove) and, to "
            "relabel, the new label."
        )
    return Edit(train_id=train_id, action=action, label=label if action == "relabel" else None)  # type: ignore[arg-type]


def edit_rows(fix: FixRecord, labels: Sequence[str], reasons: Sequence[str]) -> list[dict[str, str]]:
    """Rows of `EDITS_FILE`; ``labels`` are those the examples have now, both in the order of the edits.

    A cell that a spreadsheet would run has an apostrophe before it, which `read_edits` takes off again.
    """
    return [
        dict(
            zip(
                COLUMNS,
                map(_inert, (edit.train_id, edit.action, old, _new_label(edit, old), reason)),
                strict=True,
            )
        )
        for edit, old, reason in zip(fix.edits, labels, reasons, strict=True)
    ]


def _new_label(edit: Edit, old: str) -> str:
    if edit.action == "remove":
        return ""
    return edit.label if edit.action == "relabel" and edit.label is not None else old


def _inert(cell: str) -> str:
    """A cell that no spreadsheet runs; one that looks like the result gets an apostrophe, too: so all come back."""
    return f"'{cell}" if re.match(f"'*{_FORMULA}", cell) else cell


def _as_written(cell: str) -> str:
    """The cell that `_inert` was given."""
    return cell[1:] if re.match(f"'+{_FORMULA}", cell) else cell
