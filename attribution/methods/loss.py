"""Training loss: a cheap baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Method, MethodInfo, register

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.query import Query


@register
class Loss(Method):
    """score_i = ℓ_i · ∂f/∂z_{y_i}: badly fitted examples first, with the sign of their label.

    It knows of the test example only which classes matter.
    """

    info = MethodInfo(
        name="loss",
        title="Training loss (baseline)",
        citation="baseline",
        needs=[],
        cost="nothing: stored predictions",
        calibrated=False,
        family="baseline",
        one_line="The training examples that the model fits worst, signed by their label.",
    )
    from_gradients = False

    def scores(self, query: Query) -> Tensor:
        logits = query.asked(query.loaded.index.array(query.final.number, "logits")).double()
        losses = query.task.loss(logits, query.labels()).detach()
        return losses * query.measurements_by_logit()[:, query.labels()]
