"""Who may change projects: a rule that everything which writes asks first. Without a rule, everybody may.

A dashboard that is open to a team sets the rule; it then holds below all buttons and links, because the functions that
write files, histories and folders ask it themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from attribution.errors import ProjectError

Rule = Callable[[], str | None]
"""Why whoever asks now may change nothing, as the end of a sentence; None where they may."""


class ReadOnlyError(ProjectError):
    """Whoever asked may look, and change nothing."""


@dataclass(frozen=True)
class _Decision:
    refusal: str | None


_rule: Rule | None = None
_decision: ContextVar[_Decision | None] = ContextVar("tracefix access", default=None)


def set_rule(rule: Rule | None) -> None:
    """Have every change in this process ask ``rule``; None takes it away."""
    global _rule
    _rule = rule


def refusal() -> str | None:
    """Why whoever asks may change nothing; None where they may."""
    decided = _decision.get()
    if decided is not None:
        return decided.refusal
    return None if _rule is None else _rule()


@contextmanager
def decided(refusal: str | None) -> Iterator[None]:
    """Within the block this is the answer: for a thread that works for somebody, as was decided when they asked."""
    token = _decision.set(_Decision(refusal))
    try:
        yield
    finally:
        _decision.reset(token)


def check_may_change(deed: str) -> None:
    """Refuse a change unless it is allowed.

    Args:
        deed: what would be done, for the message: "keep this fix".

    Raises:
        ReadOnlyError: whoever asks may change nothing.
    """
    reason = refusal()
    if reason is not None:
        raise ReadOnlyError(f"Cannot {deed}: {reason}.")
