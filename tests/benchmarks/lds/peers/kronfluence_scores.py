"""kronfluence: pairwise influence with EK-FAC factors, or with the identity in their place."""

from __future__ import annotations

import logging
import tempfile
from typing import Any

import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from ..exchange import Problem

BATCH_SIZE = 512


class Classification(Task):
    """Cross-entropy in training; the problem's measurement for queries."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
        inputs, labels = batch
        logits = model(inputs)
        if sample:
            with torch.no_grad():
                labels = torch.multinomial(logits.softmax(dim=1), 1).squeeze(1)
        return functional.cross_entropy(logits, labels, reduction="sum")

    def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
        inputs, coded = batch
        return self._problem.measure_coded(model(inputs), coded).sum()


def scores(problem: Problem, *, damping: float | None, strategy: str = "ekfac") -> Tensor:
    """Minus its scores: they are positive for examples that lower the measurement.

    Args:
        damping: None for its rule, a tenth of the mean eigenvalue of each layer.
    """
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    task = Classification(problem)
    model = prepare_model(problem.model(), task)
    train = TensorDataset(problem.inputs, problem.labels)
    queries = TensorDataset(problem.query_inputs, problem.coded_queries)
    with tempfile.TemporaryDirectory() as folder:
        analyzer = Analyzer(
            "fidelity", model, task, cpu=True, disable_tqdm=True, disable_model_save=True, output_dir=folder
        )
        analyzer.fit_all_factors(
            "factors",
            train,
            per_device_batch_size=BATCH_SIZE,
            factor_args=FactorArguments(strategy=strategy),
        )
        analyzer.compute_pairwise_scores(
            "scores",
            "factors",
            query_dataset=queries,
            train_dataset=train,
            per_device_query_batch_size=len(queries),
            per_device_train_batch_size=BATCH_SIZE,
            score_args=ScoreArguments(damping_factor=damping),
        )
        pairwise = analyzer.load_pairwise_scores("scores")
    return -pairwise["all_modules"].T
