"""captum: influence through an Arnoldi basis of the Hessian (Schioppa et al. 2022), with its defaults."""

from __future__ import annotations

from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ..exchange import Problem
from .captum_tracing import BATCH_SIZE, Measured


def scores(problem: Problem) -> Tensor:
    """Minus its scores: they are positive for examples that lower the loss."""

    def load(model: nn.Module, checkpoint: str) -> float:
        model.load_state_dict(problem.checkpoints[int(checkpoint)])
        return 1.0

    influence = ArnoldiInfluenceFunction(
        problem.model(),
        DataLoader(TensorDataset(problem.inputs, problem.labels), batch_size=BATCH_SIZE),
        str(len(problem.checkpoints) - 1),
        checkpoints_load_func=load,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
        test_loss_fn=Measured(problem),
        sample_wise_grads_per_batch=True,
    )
    return -influence.influence((problem.query_inputs, problem.coded_queries)).T
