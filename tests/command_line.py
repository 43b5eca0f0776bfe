"""Running `tracefix` in the test's own process and looking at what it did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    status: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The last line on stderr, after any progress."""
        return self.err.rstrip("\n").splitlines()[-1]


class CommandLine:
    """`tracefix` run inside the test's own process."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: str | Path) -> Outcome:
        from dashboard.cli import main

        self._capture.readouterr()
        status = main([str(argument) for argument in arguments])
        written = self._capture.readouterr()
        return Outcome(status, written.out, written.err)

    def refused(self, *arguments: str | Path, status: int = 1) -> str:
        """Run something that must fail; returns the one line that says why."""
        outcome = self(*arguments)
        assert outcome.status == status, outcome
        assert outcome.out == "", "a failed command leaves stdout empty"
        assert "Traceback" not in outcome.err
        kind, _, sentence = outcome.error_line.partition(": ")
        assert kind == ("Usage" if status == 2 else "Error"), outcome.err
        return sentence
