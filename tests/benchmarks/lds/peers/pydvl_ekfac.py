"""pyDVL: influence with EK-FAC curvature; it has no damping rule and gets ours."""

from __future__ import annotations

import warnings

from pydvl.influence.base_influence_function_model import InfluenceMode
from pydvl.influence.torch import EkfacInfluence
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ..exchange import Problem

BATCH_SIZE = 256


def scores(problem: Problem) -> Tensor:
    """Minus its scores: they are positive for examples that lower the loss."""
    warnings.filterwarnings("ignore")
    influence = EkfacInfluence(
        problem.model(), update_diagonal=True, hessian_regularization=problem.damping
    ).fit(DataLoader(TensorDataset(problem.inputs, problem.labels), batch_size=BATCH_SIZE))
    found = influence.influences(
        problem.query_inputs, problem.true, problem.inputs, problem.labels, mode=InfluenceMode.Up
    )
    return -found.T
