"""Making the model of a recorded fix again, from its recipe: weights are not stored, the recipe is."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from attribution.errors import ProjectError
from attribution.fixing.context import FixContext
from attribution.fixing.descent import Descent
from attribution.fixing.fix import FixRequest, carry_out, curve_of
from attribution.progress import Reporter
from attribution.projects import FixRecord
from attribution.projects.records import Belief

SAME_MODEL = 1e-3
"""The prediction before may differ by so much from that of the record: batches and devices round differently."""

SAME_RESULT = 1e-5
"""Largest difference of a probability at which a replay still counts as the recorded fix."""


@dataclass(frozen=True)
class Replayed:
    """The patched model, in evaluation mode, and the largest difference of a probability from the record, or from
    those of the fixes beneath.

    On the device and with the number of threads that the fix was made with, the difference is zero.
    """

    model: nn.Module
    difference: float


def run_replay(context: FixContext, fix: FixRecord, reporter: Reporter) -> Replayed:
    """Carry the recorded edits out again on a copy of the model and compare every step with the record.

    Args:
        context: the model that the fix started from, with the fixes beneath it.

    Raises:
        ProjectError: model or data changed since, or the replay does not give the recorded result.
        NotFoundError: an example of the record is no longer in the project.
    """
    project, device = context.project, context.device
    positions = [project.position("test", test_id) for test_id in fix.test_ids]
    _check_same_model(context, fix, positions)
    request = FixRequest(
        positions=positions,
        strategy=fix.strategy,
        edits=list(fix.edits),
        method=fix.method,
        measurement=fix.measurement,
        max_steps=fix.max_steps,
        seed=fix.seed,
        guard=fix.guard,
        ends_early=fix.ends_early,
    )
    carried = carry_out(context, request, reporter)
    difference = _difference(carried.run, fix, project.class_names)
    if difference is None or difference > SAME_RESULT:
        reached = float(carried.run.probabilities[-1, 0, carried.target.true[0]])
        raise ProjectError(
            f"Replaying {fix.fix_id} on {device} gives '{fix.true}' a probability of {reached:.6f} after "
            f"{carried.run.steps} steps instead of {fix.after.probabilities[fix.true]:.6f} after {fix.steps} as "
            f"recorded on {fix.device}: replay it on that device and with the versions it was made with, or make "
            "the fix anew."
        )
    return Replayed(carried.run.model, max(difference, context.difference))


def _check_same_model(context: FixContext, fix: FixRecord, positions: list[int]) -> None:
    project, table = context.project, context.predictions
    for position, (before, _) in zip(positions, _beliefs(fix), strict=True):
        row = table.iloc[position]
        now = {name: float(row[f"p_{number}"]) for number, name in enumerate(project.class_names)}
        then = before.probabilities
        if now.keys() != then.keys() or max(abs(now[name] - then[name]) for name in now) > SAME_MODEL:
            raise ProjectError(
                f"The model or the data of project '{project.name}' changed since {fix.fix_id} was made: make the fix "
                "anew."
            )


def _beliefs(fix: FixRecord) -> list[tuple[Belief, Belief]]:
    """What the model says of each target before and after."""
    return [(fix.before, fix.after), *((target.before, target.after) for target in fix.targets[1:])]


def _difference(run: Descent, fix: FixRecord, names: list[str]) -> float | None:
    """Largest absolute difference of a probability at any step; None where the steps themselves differ."""
    if run.steps != fix.steps:
        return None
    pairs: list[tuple[float, float]] = []
    for mine, recorded in zip(run.probabilities.transpose(0, 1), _beliefs(fix), strict=True):
        for row, belief in zip((mine[0], mine[-1]), recorded, strict=True):
            pairs += [(float(row[number]), belief.probabilities[name]) for number, name in enumerate(names)]
    for now, then in zip(curve_of(run), fix.probability_per_step, strict=True):
        pairs += [(now.true, then.true), (now.predicted_before, then.predicted_before)]
    return max(abs(mine - recorded) for mine, recorded in pairs)
