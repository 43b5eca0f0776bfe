"""Fixes on top of fixes: the model that earlier fixes leave, made again from their recipes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import pandas as pd
from torch import nn

from attribution.batches import labels_of
from attribution.fixing.context import FixContext
from attribution.fixing.fix import PREDICTION_BATCH
from attribution.fixing.replay import run_replay
from attribution.predictions import predict, prediction_table
from attribution.progress import Reporter
from attribution.projects import FixRecord

MOST_KEPT = 3
"""Patched models kept in memory: each costs its line search again otherwise."""


@dataclass(frozen=True)
class _Patched:
    model: nn.Module
    predictions: pd.DataFrame
    difference: float


class PatchedModels:
    """Models with a stack of fixes, the last few of them kept."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[str, _Patched] = OrderedDict()

    def context(self, original: FixContext, fix_id: str | None, reporter: Reporter) -> FixContext:
        """What a fix on top of ``fix_id`` starts from; the original itself where that is None.

        Of the original, all but model and predictions stay: the representations by which controls are chosen, Adam's
        moments and the curvature are those of the model that was trained.

        Raises:
            NotFoundError: no such fix, or one beneath it is gone.
            ProjectError: as `run_replay`, of each fix that is replayed.
        """
        if fix_id is None:
            return original
        stack = original.project.history.stack(fix_id)
        context = original
        for done, fix in enumerate(stack):
            share = reporter.share(done / len(stack), (done + 1) / len(stack))
            if fix.fix_id not in self._kept:
                self._kept[fix.fix_id] = _patched(context, fix, share)
            self._kept.move_to_end(fix.fix_id)
            patched = self._kept[fix.fix_id]
            context = replace(
                original,
                model=patched.model,
                predictions=patched.predictions,
                beneath=(*context.beneath, fix),
                difference=patched.difference,
            )
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return context


def _patched(context: FixContext, fix: FixRecord, reporter: Reporter) -> _Patched:
    replayed = run_replay(context, fix, reporter.share(0.0, 0.6))
    task = context.task
    logits, _ = predict(
        task,
        replayed.model,
        "test",
        device=context.device,
        batch_size=PREDICTION_BATCH,
        reporter=reporter.share(0.6, 1.0),
        message="Predicting the test set with the fix",
    )
    table = prediction_table(task, "test", logits, labels_of(task, "test"))
    return _Patched(replayed.model, table, replayed.difference)
