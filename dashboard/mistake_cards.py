"""Mispredictions as the cards that pages draw, before and after a fix."""

from __future__ import annotations

from collections.abc import Sequence

from attribution.projects import FixRecord
from dashboard.components.mistakes import Mistake
from dashboard.current import Opened
from dashboard.stacking import predictions_of
from dashboard.state import go, link
from dashboard.tables import test_example


def investigate(opened: Opened, example_id: str, base: str | None = None) -> None:
    """Callback of a card: open it alone, on top of the fix ``base`` where given."""
    go("investigate", _alone(opened, example_id, base))


def mistake_cards(opened: Opened, example_ids: Sequence[str], base: str | None = None) -> list[Mistake]:
    """Mispredictions as they are, of the original model or with the fix ``base``; they exist."""
    table = predictions_of(opened, base)
    names = opened.project.class_names
    found = []
    for example_id in example_ids:
        example = test_example(opened, example_id, base)
        found.append(
            Mistake(
                id=example_id,
                input=example["input"],
                true=example["true"],
                predicted=example["predicted"],
                chance=float(table.loc[example_id, f"p_{names.index(example['true'])}"]),
                href=link("investigate", _alone(opened, example_id, base)),
            )
        )
    return found


def fixed_cards(opened: Opened, fix: FixRecord) -> list[Mistake]:
    """The targets of a fix, before and after; one that is no longer in the project has no picture and no link."""
    known = opened.project.predictions("test").index
    return [
        Mistake(
            id=target.test_id,
            input=opened.project.example("test", target.test_id)["input"] if target.test_id in known else "",
            true=target.true,
            predicted=target.before.predicted,
            chance=target.before.probabilities[target.true],
            href=link("investigate", _alone(opened, target.test_id, fix.base))
            if target.test_id in known
            else None,
            now=target.after.predicted,
            chance_now=target.after.probabilities[target.true],
        )
        for target in fix.targets
    ]


def _alone(opened: Opened, example_id: str, base: str | None) -> dict[str, str | None]:
    return {"project": opened.reference, "example": example_id, "base": base}
