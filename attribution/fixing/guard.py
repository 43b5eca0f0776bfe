"""A limit that the user sets on what a fix may break."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from attribution.batches import batches
from attribution.task import Task


@dataclass(frozen=True)
class Guard:
    """Allows a model as long as at most ``limit`` of the test examples at ``positions`` are predicted wrong.

    ``positions`` are those predicted right before, those to fix left out: each wrong one is a broken one.
    """

    task: Task
    limit: int
    positions: list[int]
    device: torch.device
    batch_size: int

    def allows(self, model: nn.Module) -> bool:
        broken = 0
        with torch.no_grad():
            for batch in batches(self.task, "test", self.batch_size, self.positions):
                there = batch.to(self.device)
                predicted = self.task.logits(model, there.inputs).argmax(dim=1)
                broken += int((predicted != there.labels).sum())
                if broken > self.limit:
                    return False
        return True
