"""Mirrored influence: change the model by the test example, and see which training losses move."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Method, MethodInfo, register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from attribution.query import Query

LEARNING_RATE = 5e-3
"""Of the Adam step (the setting of Ko et al. 2024)."""


@register
class ForwardInfluence(Method):
    """score_i = ½ (ℓ_i(θ₋) - ℓ_i(θ₊)), with θ± one Adam step up or down the measurement (Ko et al. 2024).

    What raises the measurement and lowers the loss of example i is what training on i does. The difference of both
    directions leaves no second-order term. Steps are taken on a copy: the model stays as it is.

    Args:
        steps: Adam steps in each direction.
        learning_rate: of each step.
    """

    info = MethodInfo(
        name="forward_inf",
        title="Mirrored influence",
        citation="Ko et al. 2024",
        needs=[],
        cost="two forward passes over the training data per query",
        calibrated=False,
        one_line="Which training losses move when the model is pushed along the test example.",
    )
    from_gradients = False

    def __init__(self, steps: int = 1, learning_rate: float = LEARNING_RATE) -> None:
        self._steps = steps
        self._learning_rate = learning_rate

    def scores(self, query: Query) -> Tensor:
        import torch

        count = len(query.targets)
        rows = []
        for row in range(count):
            share = query.reporter.share(row / count, (row + 1) / count)
            up = self._losses(query, row, 1.0)
            share(0.5, "Mirrored influence")
            rows.append((self._losses(query, row, -1.0) - up) / 2)
        return query.asked(torch.stack(rows, dim=1)).T

    def _losses(self, query: Query, row: int, sign: float) -> Tensor:
        """Training losses (N,) of the model moved up (1) or down (-1) the measurement of target ``row``."""
        from attribution.predictions import predict

        loaded = query.loaded
        logits, _ = predict(
            loaded.task,
            self._moved(query, row, sign),
            "train",
            device=loaded.device,
            batch_size=loaded.batch_size,
            reporter=query.reporter,
            message="Mirrored influence",
        )
        return loaded.task.loss(logits.double(), loaded.train_labels).detach()

    def _moved(self, query: Query, row: int, sign: float) -> nn.Module:
        import copy

        import torch

        from attribution.batches import batch_of

        model = copy.deepcopy(query.loaded.trajectory.model_at(query.final))
        target = query.targets[row]
        batch = batch_of(query.task, "test", [target.position]).to(query.loaded.device)
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=self._learning_rate, maximize=sign > 0)
        with torch.enable_grad():
            for _ in range(self._steps):
                optimizer.zero_grad()
                target.measurement.value(
                    query.task.logits(model, batch.inputs), batch.labels
                ).sum().backward()
                optimizer.step()
        return model
