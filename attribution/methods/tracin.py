"""TracIn over checkpoints (TracInCP)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Direction, DirectionalMethod, MethodInfo, register

if TYPE_CHECKING:
    from attribution.query import Query


@register
class TracIn(DirectionalMethod):
    """score_i = -Σ_c η_c g_f(θ_c) · g_i(θ_c) over the checkpoints c with step sizes η_c (Pruthi et al. 2020, eq. 3)."""

    info = MethodInfo(
        name="tracin",
        title="TracIn over checkpoints",
        citation="Pruthi et al. 2020 (TracInCP)",
        needs=["checkpoints"],
        cost="one backward pass per checkpoint; index look-up",
        calibrated=True,
        family="run",
        one_line="How much the steps on the example changed the prediction while the model was trained.",
    )

    along_the_run = True

    def directions(self, query: Query) -> list[Direction]:
        rates = [(p, p.learning_rate) for p in query.followed if p.learning_rate > 0]
        return [Direction(point, query.gradient(point), -rate) for point, rate in rates]
