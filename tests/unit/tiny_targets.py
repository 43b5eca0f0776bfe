"""What a tiny model gets wrong, as the target of a descent."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from attribution import Task
from attribution.batches import batch_of
from attribution.fixing.descent import Target


def mistakes(task: Task, count: int | None = None) -> Target:
    """The first ``count`` test examples that the model gets wrong; all of them if not given."""
    test = batch_of(task, "test", range(task.size("test")))
    predicted = task.logits(task.model, test.inputs).argmax(dim=1)
    wrong = (predicted != test.labels).nonzero()[:, 0].tolist()[:count]
    return Target(batch_of(task, "test", wrong), test.labels[wrong], predicted[wrong])


def unreachable(target: Target) -> Target:
    """The same with a true class that there is not: fine-tuning then uses all its steps."""
    return replace(target, true=torch.full_like(target.true, -1))


def weights(model: nn.Module) -> Tensor:
    """All parameters of a model in one row."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])
