"""Records of fixes that nobody made, for tests of what is done with records."""

from __future__ import annotations

from attribution.projects import FixRecord
from attribution.projects.records import Belief, CurvePoint


def record(fix_id: str, created: str = "2026-01-01T00:00:00+00:00", **others: object) -> FixRecord:
    """A fix in two steps of test example ``t1``, from dog to cat; ``others`` are fields that differ."""
    fix = FixRecord(
        fix_id=fix_id,
        created=created,
        project="p",
        test_id="t1",
        true="cat",
        strategy="helpers",
        method="tracin",
        measurement="margin",
        edits=[],
        train_ids=["a"],
        seed=0,
        device="cpu",
        learning_rate=0.1,
        max_steps=50,
        before=Belief(predicted="dog", probabilities={"cat": 0.4, "dog": 0.6}),
        after=Belief(predicted="cat", probabilities={"cat": 0.7, "dog": 0.3}),
        fixed=True,
        steps=2,
        seconds=0.1,
        probability_per_step=[CurvePoint(step=0, true=0.4, predicted_before=0.6)],
        accuracy_before=0.9,
        accuracy_after=0.91,
        accuracy_interval=(-0.01, 0.03),
        per_class=[],
        newly_fixed=[],
        newly_broken=[],
        controls=[],
    )
    return fix.model_copy(update=others)
