"""Proposing a fix: the smallest of the sets and strategies that correct predictions with the least harm, tested.

From one explanation: culprits that look mislabelled are relabelled to what the model, held out, says; helpers of the
true class are trained on as they are. Sets of several sizes are tried by the very steps that a fix takes. Harm is
measured on training examples (see `Watch`), never on the test set, which stays an honest judge of what is chosen.

The culprits are those of the explanation; first come those with the largest effect of a step on them with the new
label. Choosing adaptively, each by that effect at the model that those before it lead to, does not pay: on digits such
sets do no less harm, and mostly more, than sets in this fixed order (``docs/suggestion.json``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from attribution.errors import NumericalError, TracefixError, UsageError
from attribution.explanation import Explanation
from attribution.fixing.candidates import Candidate, Pool
from attribution.fixing.context import FixContext
from attribution.fixing.fix import CarriedOut, FixRequest, carry_out
from attribution.fixing.harm import Harm, Watch
from attribution.fixing.pull import pulls
from attribution.fixing.settings import strategy_of
from attribution.fixing.step_size import Recipe
from attribution.progress import Reporter
from attribution.projects import Edit
from attribution.projects.held_out import HeldOut

SLACK = 1.0
"""A larger set has to do less harm by so many newly wrong predictions.

Measured on digits, 39 mispredictions, with every step size tried: at 0.5 the median set has 10 members, other test
predictions fixed / broken 3.5 / 2.0 each; at 1, 5 members, 3.3 / 1.9; at 2, 1 member, 2.7 / 1.6.
"""

BEARABLE = 0.1
"""A set that makes a larger share of the watched predictions wrong fixes nothing, whatever it does to the target."""

STEPS = 20
"""A set that needs more steps is not suggested: harm grows with each, and most sets that work take fewer than ten."""


@dataclass(frozen=True)
class Tried:
    """A set of edits with what testing it gave.

    Args:
        fixed, stays: whether the prediction became right, and stayed so.
        steps: taken.
        count: how many of the test examples were fixed.
        reached: probability of the true class, the mean over test examples.
        harm: to watched training examples.
    """

    candidate: Candidate
    edits: list[Edit]
    fixed: bool
    stays: bool
    steps: int
    count: int
    reached: float
    harm: Harm

    @property
    def success(self) -> int:
        """0 where it is fixed at a bearable price and stays so, 1 where it is only fixed, 2 else."""
        if not (self.fixed and self.bearable):
            return 2
        return 0 if self.stays else 1

    @property
    def bearable(self) -> bool:
        """Whether it leaves most of the watched predictions right (`BEARABLE`)."""
        return self.harm.broken <= BEARABLE * self.harm.watched


@dataclass(frozen=True)
class Suggestion:
    """What is proposed, why in words, and all that was tried, in the order of trying."""

    edits: list[Edit]
    strategy: str
    reasons: list[str]
    chosen: Tried
    tried: list[Tried]


def suggest(
    context: FixContext,
    explanation: Explanation,
    held_out: HeldOut | None,
    request: FixRequest,
    reporter: Reporter,
    *,
    relative: NDArray[np.floating] | None = None,
) -> Suggestion:
    """Try sets of edits for the mispredictions of a request and propose one.

    Args:
        request: the recipe; its edits are not looked at.
        relative: influence relative to the size of what each example does, as for `suggested_edits`.

    Raises:
        UsageError: no training example is worth trying, or there is nothing to fix.
        NumericalError: every set made fine-tuning diverge.
        Cancelled: the user asked for a stop.
    """
    mapped = context.curvature(reporter.share(0.0, 0.1))
    context = replace(context, curvature=lambda _: mapped)
    pool = Pool.of(explanation, held_out, relative)
    if held_out is not None and pool.suspects:
        labels = {position: int(held_out.best[position]) for position in pool.suspects}
        pull = pulls(context, mapped, request.positions, labels, reporter.silent())
        pool = replace(pool, suspects=[pool.suspects[place] for place in np.argsort(-pull, kind="stable")])
    candidates = pool.candidates(several=len(request.positions) > 1)
    search = _Search()
    watch = Watch(context.task, context.model, held_out, pool.positions, request.seed, context.device)
    tried: list[Tried] = []
    problem: TracefixError | None = None
    for number, candidate in enumerate(candidates):
        share = reporter.share(
            0.1 + 0.9 * number / len(candidates), 0.1 + 0.9 * (number + 1) / len(candidates)
        )
        share(0.0, f"Trying set {number + 1} of {len(candidates)}")
        edits = candidate.edits(context.project, held_out)
        attempt = replace(
            request,
            edits=edits,
            strategy=strategy_of(edits, "helpers"),
            max_steps=min(request.max_steps, STEPS),
            controls=False,
        )
        try:
            carried = carry_out(context, attempt, share.silent(), worth_trying=search.worth_trying)
        except (NumericalError, UsageError) as error:  # another set may do
            problem = error
            continue
        search.learn(carried)
        tried.append(_result(candidate, edits, carried, watch.harm(carried.run.model)))
    if problem is not None and not tried:
        raise problem
    chosen = choose(tried)
    return Suggestion(
        edits=chosen.edits,
        strategy=strategy_of(chosen.edits, "helpers"),
        reasons=reasons(chosen, tried, held_out, targets=len(request.positions)),
        chosen=chosen,
        tried=tried,
    )


class _Search:
    """A line search made short: once a set was fixed, the next ones try the step size that did it, with and without
    replay, rather than all of them."""

    def __init__(self) -> None:
        self._offered: list[Recipe] = []
        self._places: dict[int, list[int]] = {}

    def worth_trying(self, recipes: list[Recipe]) -> list[Recipe]:
        """Of all recipes of a set, those to try."""
        self._offered = recipes
        places = self._places.get(len(recipes), range(len(recipes)))
        return [recipes[place] for place in places]

    def learn(self, carried: CarriedOut) -> None:
        """Take note of the recipe that the latest set was fixed by."""
        if not carried.run.fixed:
            return
        found = carried.recipe
        self._places[len(self._offered)] = [
            place
            for place, recipe in enumerate(self._offered)
            if recipe == found
            or (recipe.replay != found.replay and recipe.learning_rate == found.learning_rate)
        ]


def choose(tried: Sequence[Tried]) -> Tried:
    """Of the sets that fix it best the smallest whose harm is within `SLACK` of the least; where none fixes it, the one
    that comes closest."""
    best = min(one.success for one in tried)
    if best == 2:
        return max(tried, key=lambda one: (one.bearable, one.count, one.reached))
    able = [one for one in tried if one.success == best]
    least = min(one.harm.amount for one in able)
    enough = [one for one in able if one.harm.amount <= least + SLACK]
    return min(enough, key=lambda one: (one.candidate.size, one.harm.amount))


def _result(candidate: Candidate, edits: list[Edit], carried: CarriedOut, harm: Harm) -> Tried:
    run = carried.run
    return Tried(
        candidate=candidate,
        edits=edits,
        fixed=run.fixed,
        stays=run.stopped == "reached",
        steps=run.steps,
        count=run.fixed_count,
        reached=float(run.true_probabilities[-1]),
        harm=harm,
    )


def reasons(
    chosen: Tried, tried: Sequence[Tried], held_out: HeldOut | None, *, targets: int = 1
) -> list[str]:
    """Why these edits, in sentences.

    Args:
        targets: how many test examples are to be fixed.
    """
    said = [*_about_members(chosen.candidate, held_out), _about_result(chosen, tried, targets)]
    if chosen.success == 2:
        return said
    rivals = [one for one in tried if one.success == chosen.success and one is not chosen]
    plain = [one for one in rivals if one.candidate.kind == "upweight" != chosen.candidate.kind]
    if plain:
        other = min(plain, key=lambda one: one.harm.amount)
        said.append(
            f"Training on {_count(other.candidate.size, 'helper')} instead would make "
            f"{_count(other.harm.broken, 'prediction')} wrong and {other.harm.repaired:,} right."
        )
    return said


def _about_members(candidate: Candidate, held_out: HeldOut | None) -> list[str]:
    said = []
    if candidate.relabelled and held_out is not None:
        count, size = len(candidate.relabelled), candidate.size
        bound = _bound(max(float(held_out.of_label[p]) for p in candidate.relabelled))
        which = "This one" if size == 1 else f"All {size}" if count == size else f"{count} of these {size}"
        verb, them, their = ("looks", "it", "its") if count == 1 else ("look", "them", "their")
        said.append(
            f"{which} {verb} mislabelled: the model, held out, gives {them} p < {bound} for {their} label; "
            f"{'it is' if count == 1 else 'they are'} relabelled to what it says instead."
        )
    if candidate.upweighted:
        said.append(
            f"{_count(len(candidate.upweighted), 'helper')} of the true class "
            f"{'is' if len(candidate.upweighted) == 1 else 'are'} trained on a little more, as labelled."
        )
    if candidate.removed:
        said.append(
            f"{_count(len(candidate.removed), 'culprit')} {'is' if len(candidate.removed) == 1 else 'are'} left out: "
            "the model, held out, does not believe the label, and names no other one clearly."
        )
    return said


def _about_result(chosen: Tried, tried: Sequence[Tried], targets: int) -> str:
    what = "the prediction" if targets == 1 else f"all {targets:,} predictions"
    if chosen.success == 2:
        closest = (
            f"{chosen.count:,}"
            if targets > 1
            else f"a probability of {chosen.reached:.0%} for the true class"
        )
        price = " at a bearable price" if any(one.fixed for one in tried) else ""
        return f"None of {_count(len(tried), 'set')} tried fixes {what}{price}: this one comes closest, with {closest}."
    fixing = sum(one.success == chosen.success for one in tried)
    harm = chosen.harm
    effect = f"of {harm.watched:,} other training predictions it makes {harm.broken:,} wrong, {harm.repaired:,} right"
    if fixing == 1:
        return f"Of {_count(len(tried), 'set')} tried it is the only one that fixes {what}; {effect}."
    return (
        f"Of the {fixing} sets that fix {what} ({len(tried)} were tried) it is the smallest of those with the "
        f"least harm: {effect}."
    )


def _bound(value: float) -> str:
    """The smallest of a few round bounds above a probability."""
    return next(
        (name for bound, name in ((0.001, ".001"), (0.01, ".01"), (0.05, ".05")) if value < bound), ".1"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
