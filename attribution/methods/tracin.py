"""TracIn over checkpoints (TracInCP)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Method, MethodInfo, ProjectFacts, register

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.query import Query


def missing_checkpoints(facts: ProjectFacts) -> str | None:
    """Why a method that follows the run cannot run, or None."""
    if not facts.checkpoints:
        return (
            "It needs checkpoints of the training run, and this project has none: add them with "
            "tracefix new --checkpoints or Task(checkpoints=...)."
        )
    if not any(rate > 0 for rate in facts.learning_rates):
        return (
            "Every checkpoint of this project has a learning rate of zero: give the step size that was in force "
            "at each checkpoint."
        )
    return None


@register
class TracIn(Method):
    """score_i = -Σ_c η_c g_f(θ_c) · g_i(θ_c) over the checkpoints c with step sizes η_c (Pruthi et al. 2020, eq. 3)."""

    info = MethodInfo(
        name="tracin",
        title="TracIn over checkpoints",
        citation="Pruthi et al. 2020 (TracInCP)",
        needs=["checkpoints"],
        cost="one backward pass per checkpoint; index look-up",
        calibrated=True,
        one_line="How much the steps on the example changed the prediction while the model was trained.",
    )

    def missing(self, facts: ProjectFacts) -> str | None:
        return missing_checkpoints(facts)

    def scores(self, query: Query) -> Tensor:
        parts = self.parts(query)
        return parts.sum(dim=0)

    def parts(self, query: Query) -> Tensor:
        import torch

        return torch.stack(
            [-p.learning_rate * query.dots(p) for p in query.checkpoints if p.learning_rate > 0]
        )
