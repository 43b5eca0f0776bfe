"""Mispredictions as the cards that pages draw, before and after a fix."""

from __future__ import annotations

from collections.abc import Sequence

from attribution.projects import FixRecord
from dashboard.components.mistakes import Mistake
from dashboard.current import Opened
from dashboard.state import go, link


def investigate(opened: Opened, example_id: str) -> None:
    """Callback of a card: open it alone."""
    go("investigate", _alone(opened, example_id))


def mistake_cards(opened: Opened, example_ids: Sequence[str]) -> list[Mistake]:
    """Mispredictions as they are; they exist."""
    table = opened.project.predictions("test")
    names = opened.project.class_names
    found = []
    for example_id in example_ids:
        example = opened.project.example("test", example_id)
        found.append(
            Mistake(
                id=example_id,
                input=example["input"],
                true=example["true"],
                predicted=example["predicted"],
                chance=float(table.loc[example_id, f"p_{names.index(example['true'])}"]),
                href=link("investigate", _alone(opened, example_id)),
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
            href=link("investigate", _alone(opened, target.test_id)) if target.test_id in known else None,
            now=target.after.predicted,
            chance_now=target.after.probabilities[target.true],
        )
        for target in fix.targets
    ]


def _alone(opened: Opened, example_id: str) -> dict[str, str | None]:
    return {"project": opened.reference, "example": example_id}
