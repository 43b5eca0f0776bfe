"""What a check says: findings, each a sentence with its numbers and, where something is amiss, the remedy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["ok", "note", "warning", "problem"]
SEVERITIES: tuple[Severity, ...] = ("ok", "note", "warning", "problem")
"""From nothing to say, over good to know and doubtful, to what makes results wrong or preparing fail."""

SHOWN = 3
"""Ids and names that a sentence gives at most."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: what it is about; the same in every report ("balance", "train accuracy").
        severity: one of `SEVERITIES`.
        sentence: what was found, with numbers.
        remedy: what to do about it; empty where there is nothing to do.
        numbers: the same for scripts: numbers, names and ids.
    """

    name: str
    severity: Severity
    sentence: str
    remedy: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckReport:
    """All findings of a project, in the order they are told."""

    project: str
    findings: list[Finding]

    @property
    def problems(self) -> list[Finding]:
        """What makes results wrong or preparing fail."""
        return self.of("problem")

    @property
    def doubts(self) -> list[Finding]:
        """Problems first, then warnings."""
        return [*self.problems, *self.of("warning")]

    def of(self, severity: Severity) -> list[Finding]:
        """The findings of a severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    def named(self, name: str) -> Finding:
        """The finding of a name; `KeyError` where there is none."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)

    @property
    def verdict(self) -> str:
        """All of it in one sentence."""
        problems, warnings = len(self.problems), len(self.of("warning"))
        if not problems and not warnings:
            return "Everything fits."
        parts = [counted(problems, "problem")] if problems else []
        parts += [counted(warnings, "warning")] if warnings else []
        return f"{' and '.join(parts)} to look at before preparing."

    def contract(self) -> dict[str, Any]:
        """The shape that ``tracefix check --json`` prints."""
        return {
            "project": self.project,
            "problems": len(self.problems),
            "warnings": len(self.of("warning")),
            "findings": [asdict(finding) for finding in self.findings],
        }


def counted(count: int, word: str, plural: str | None = None) -> str:
    """``1 problem``, ``2 problems``."""
    return f"{count:,} {word if count == 1 else plural or word + 's'}"


def listed(names: list[str], shown: int = SHOWN) -> str:
    """The first few names in quotation marks, and how many more there are."""
    words = ", ".join(f"'{name}'" for name in names[:shown])
    return words + (f" and {len(names) - shown:,} more" if len(names) > shown else "")


def percent(share: float) -> str:
    """``0.873`` as ``87.3 %``."""
    return f"{100 * share:.1f} %"


def megabytes(size: float) -> str:
    """Bytes in words."""
    return f"{size / 2**30:,.1f} GB" if size >= 2**30 else f"{size / 2**20:,.0f} MB"
