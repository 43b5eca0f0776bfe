"""What single fixes of a study gave, kept on disk one by one, so that a study that was stopped goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attribution.errors import ProjectError
from attribution.projects import FixRecord
from attribution.projects.files import write_text


@dataclass(frozen=True)
class Outcome:
    """One fix of one misprediction; what could not be tried changed nothing."""

    fixed: bool = False
    steps: int = 0
    accuracy_change: float = 0.0
    newly_fixed: int = 0
    newly_broken: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, fix: FixRecord, seconds: float) -> Outcome:
        return cls(
            fix.fixed,
            fix.steps,
            fix.accuracy_after - fix.accuracy_before,
            len(fix.newly_fixed),
            len(fix.newly_broken),
            seconds,
        )


class Outcomes:
    """Outcomes by strategy, selector and test id: a file of JSON lines, the first of which says what they are of.

    Args:
        file: grows by a line per outcome; one that was cut off by a kill is dropped.
        of: all that outcomes depend on beside their names; outcomes of anything else are discarded.

    Raises:
        ProjectError: the file cannot be read or written.
    """

    def __init__(self, file: Path, of: Mapping[str, Any]) -> None:
        self._file = file
        self._known: dict[tuple[str, str, str], Outcome] = {}
        head = json.dumps(dict(of), sort_keys=True)
        lines = _lines(file)
        if lines[:1] != [head]:
            write_text(file, head + "\n")
            return
        whole = [head]
        for line in lines[1:]:
            try:
                stored = json.loads(line)
                key = (stored.pop("strategy"), stored.pop("selector"), stored.pop("test_id"))
                self._known[key] = Outcome(**stored)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            whole.append(line)
        if len(whole) != len(lines):
            write_text(file, "\n".join(whole) + "\n")

    def get(self, strategy: str, selector: str, test_id: str, make: Callable[[], Outcome]) -> Outcome:
        """The outcome of this name, made and kept if it is not known yet."""
        key = (strategy, selector, test_id)
        if key not in self._known:
            outcome = make()
            named = {"strategy": strategy, "selector": selector, "test_id": test_id, **asdict(outcome)}
            try:
                with self._file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(named) + "\n")
                    lines.flush()
                    os.fsync(lines.fileno())
            except OSError as error:
                raise ProjectError(
                    f"'{self._file}' cannot be written ({error.strerror}): check its folder."
                ) from error
            self._known[key] = outcome
        return self._known[key]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ProjectError(
            f"'{file}' cannot be read ({error}): delete it to begin the study anew."
        ) from error
