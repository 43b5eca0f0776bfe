"""What a prepared index keeps of the training examples beside their gradients, computed when it is asked for."""

from __future__ import annotations

from torch import Tensor

from attribution import Task
from attribution.predictions import predict
from attribution.projects.ledger import Ledger
from attribution.representation import head_name
from attribution.trajectory import Trajectory


class Activations:
    """Stands in for the index where a method reads logits and representations from it, at the cost of a forward pass.

    Args:
        ledger: of the folder where methods keep what they fit.
    """

    def __init__(self, task: Task, trajectory: Trajectory, ledger: Ledger, batch_size: int) -> None:
        self.ledger = ledger
        self.head = head_name(task, trajectory.model_at(trajectory.final))
        self._task = task
        self._trajectory = trajectory
        self._batch_size = batch_size
        self._kept: dict[int, dict[str, Tensor]] = {}

    def representations(self, point: int) -> Tensor:
        """Representations (N, D) at a point."""
        return self.array(point, "representations")

    def array(self, point: int, name: str) -> Tensor:
        """``logits`` (N, C) or ``representations`` (N, D) at a point."""
        if point not in self._kept:
            model = self._trajectory.model_at(self._trajectory.point(point))
            logits, representations = predict(
                self._task, model, "train", head=self.head, device="cpu", batch_size=self._batch_size
            )
            assert representations is not None
            self._kept[point] = {"logits": logits, "representations": representations}
        return self._kept[point][name]
