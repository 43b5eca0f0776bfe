"""dattri: influence with several ways to invert the Hessian."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from dattri.algorithm import influence_function as methods
from dattri.task import AttributionTask
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from ..exchange import Problem

BATCH_SIZE = 1024
"""Of training examples. It solves its system again for each batch of them: one batch for digits is its best case."""

QUERY_BATCH = 20
"""All of digits' queries; more at once would need tens of gigabytes for Fashion-MNIST and save nothing."""


def scores(problem: Problem, *, kind: str) -> Tensor:
    """Minus its scores: they are positive for examples that lower the target."""
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    model = problem.model()

    def loss(parameters: Any, data: tuple[Tensor, Tensor]) -> Tensor:
        inputs, labels = data
        return functional.cross_entropy(functional_call(model, parameters, inputs), labels.long())

    def target(parameters: Any, data: tuple[Tensor, Tensor]) -> Tensor:
        inputs, coded = data
        return problem.measure_coded(functional_call(model, parameters, inputs), coded.long()).mean()

    task = AttributionTask(
        loss_func=loss, target_func=target, model=model, checkpoints=problem.checkpoints[-1]
    )
    makers = {
        "cg": lambda: methods.IFAttributorCG(task),
        "arnoldi": lambda: methods.IFAttributorArnoldi(task),
        "ekfac": lambda: methods.IFAttributorEKFAC(task, damping=problem.damping),
        "datainf": lambda: methods.IFAttributorDataInf(task, regularization=problem.damping),
    }
    attributor = makers[kind]()
    everything = TensorDataset(problem.inputs, problem.labels)
    train = DataLoader(everything, batch_size=BATCH_SIZE)
    queries = TensorDataset(problem.query_inputs, problem.coded_queries)
    attributor.cache(DataLoader(everything, batch_size=len(everything)))
    found = attributor.attribute(train, DataLoader(queries, batch_size=QUERY_BATCH))
    return -found.detach()
