"""captum: TracInCP over all checkpoints, weighted by their learning rates."""

from __future__ import annotations

from captum.influence import TracInCP
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ..exchange import Problem

BATCH_SIZE = 256


def scores(problem: Problem) -> Tensor:
    """Minus its scores: they are positive for examples that lower the loss."""

    def load(model: nn.Module, checkpoint: str) -> float:
        model.load_state_dict(problem.checkpoints[int(checkpoint)])
        return problem.rates[int(checkpoint)]

    tracing = TracInCP(
        problem.model(),
        DataLoader(TensorDataset(problem.inputs, problem.labels), batch_size=BATCH_SIZE),
        [str(number) for number in range(len(problem.checkpoints))],
        checkpoints_load_func=load,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
        test_loss_fn=Measured(problem),
        sample_wise_grads_per_batch=True,
    )
    return -tracing.influence((problem.query_inputs, problem.coded_queries)).T


class Measured(nn.Module):
    """The problem's measurement as a summed loss."""

    reduction = "sum"

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self._problem = problem

    def forward(self, logits: Tensor, coded: Tensor) -> Tensor:
        return self._problem.measure_coded(logits, coded).sum()
