"""traker: TRAK (Park et al. 2023) over the last checkpoints of one run."""

from __future__ import annotations

import logging
import tempfile

import torch
from torch import Tensor
from trak import TRAKer

from ..exchange import Problem

BATCH_SIZE = 256


def scores(problem: Problem, *, dimensions: int, checkpoints: int) -> Tensor:
    """Minus its scores, which are for the margin of the true class, the only measurement it has for images."""
    chosen = problem.checkpoints[-checkpoints:]
    with tempfile.TemporaryDirectory() as folder:
        traker = TRAKer(
            model=problem.model(),
            task="image_classification",
            train_set_size=len(problem.labels),
            save_dir=folder,
            device="cpu",
            proj_dim=dimensions,
            use_half_precision=False,
            logging_level=logging.ERROR,
        )
        for number, state in enumerate(chosen):
            traker.load_checkpoint(state, model_id=number)
            for inputs, labels in _batches(problem):
                traker.featurize(batch=(inputs, labels), num_samples=len(labels))
        traker.finalize_features()
        for number, state in enumerate(chosen):
            traker.start_scoring_checkpoint(
                exp_name="queries", checkpoint=state, model_id=number, num_targets=len(problem.true)
            )
            traker.score(batch=(problem.query_inputs, problem.true), num_samples=len(problem.true))
        found = traker.finalize_scores(exp_name="queries")
        return -torch.tensor(found)


def _batches(problem: Problem) -> list[tuple[Tensor, Tensor]]:
    return list(zip(problem.inputs.split(BATCH_SIZE), problem.labels.split(BATCH_SIZE), strict=True))
