"""Why each example of a fix was edited, in words: its influence on the prediction, and what the model says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attribution.explanation import Explanation
from attribution.progress import SILENT, Reporter
from attribution.projects import FixRecord, Project
from attribution.projects.held_out import HeldOut

if TYPE_CHECKING:
    from attribution.engine import Engine


def explanation_of(engine: Engine, fix: FixRecord, reporter: Reporter = SILENT) -> Explanation | None:
    """The explanation that a fix was chosen by; None where its measurement is code, which is not run unasked.

    Raises:
        As `Engine.explain`.
    """
    if ".py:" in fix.measurement:
        return None
    return engine.explain_group(
        fix.test_ids, method=fix.method, measurement=fix.measurement, reporter=reporter
    )


def edit_reasons(project: Project, fix: FixRecord, explanation: Explanation | None) -> list[str]:
    """A sentence for each edit, in the order of the edits.

    Raises:
        NotFoundError: an edited example is no longer in the project.
    """
    train, names, held_out = project.predictions("train"), project.class_names, project.held_out
    reasons = []
    for edit in fix.edits:
        position = project.position("train", edit.train_id)
        row = train.iloc[position]
        label, predicted = int(row["label"]), int(row["predicted"])
        words = [_influence(explanation, position)] if explanation is not None else []
        if held_out is not None:
            words.append(_held_out(held_out, position, names))
        elif label == predicted:
            words.append(f"the model agrees with its label '{names[label]}' (p = {row['confidence']:.2f})")
        else:
            words.append(
                f"its label '{names[label]}' looks wrong: the model says '{names[predicted]}' "
                f"(p = {row['confidence']:.2f})"
            )
        reasons.append("; ".join(words))
    return reasons


def _held_out(held_out: HeldOut, position: int, names: list[str]) -> str:
    """What a model that was not shown its label says of it."""
    label, best = int(held_out.labels[position]), int(held_out.best[position])
    words = f"held out, the model gives its label '{names[label]}' p = {held_out.of_label[position]:.2g}"
    if best != label:
        words += f" and '{names[best]}' p = {held_out.probabilities[position, best]:.2g}"
    return f"its label looks wrong: {words}" if held_out.mislabelled[position] else words


def _influence(explanation: Explanation, position: int) -> str:
    """The place of an example among the culprits or helpers, the strongest being number 1."""
    scores, mine = explanation.scores, float(explanation.scores[position])
    if mine == 0:
        return f"no influence by {explanation.method}"
    side = scores > 0 if mine > 0 else scores < 0
    rank = int(np.count_nonzero(np.abs(scores[side]) > abs(mine))) + 1
    name = "culprit" if mine > 0 else "helper"
    return f"{name} number {rank:,} of {int(side.sum()):,} by {explanation.method} (score {mine:+.3g})"
