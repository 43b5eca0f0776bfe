"""What is asked of a model: the test examples that are explained, and how each of them is measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MEASUREMENTS = ("loss", "margin")


@dataclass(frozen=True)
class Queries:
    """Test positions, true and predicted classes (Q,) each, and the measurement: "loss" or "margin"."""

    positions: list[int]
    true: Tensor
    predicted: Tensor
    measurement: str

    def value(self, logits: Tensor, _: Tensor | None = None) -> Tensor:
        """The measurement (..., Q) of logits (..., Q, C).

        ``loss`` is -log p(true); ``margin`` is log p(predicted) - log p(true) of a misprediction and minus the
        log-odds of the true class of a correct prediction.
        """
        return measured(logits, self.true, self.predicted, self.measurement)


def measured(logits: Tensor, true: Tensor, predicted: Tensor, measurement: str) -> Tensor:
    """See `Queries.value`; classes broadcast over the leading dimensions of the logits."""
    shape = logits.shape[:-1]
    columns = true.expand(shape).unsqueeze(-1)
    own = logits.gather(-1, columns).squeeze(-1)
    if measurement == "loss":
        return logits.logsumexp(dim=-1) - own
    rival = logits.gather(-1, predicted.expand(shape).unsqueeze(-1)).squeeze(-1)
    # log p/(1-p) = z_true - logsumexp(others): no subtraction of nearly equal probabilities.
    others = logits.scatter(-1, columns, float("-inf")).logsumexp(dim=-1)
    return torch.where(true == predicted, others - own, rival - own)


def mispredictions_first(logits: Tensor, labels: Tensor, count: int) -> tuple[list[int], Tensor]:
    """Positions of ``count`` test examples, mispredictions first, and the predicted classes of all."""
    predicted = logits.argmax(dim=1)
    wrong = torch.nonzero(predicted != labels).flatten().tolist()
    right = torch.nonzero(predicted == labels).flatten().tolist()
    return (wrong + right)[:count], predicted
