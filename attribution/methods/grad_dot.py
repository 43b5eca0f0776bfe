"""Gradient dot product: one step of TracIn, at the final model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Direction, DirectionalMethod, MethodInfo, register

if TYPE_CHECKING:
    from attribution.query import Query


@register
class GradDot(DirectionalMethod):
    """score_i = -g_f · g_i at the final parameters.

    A gradient step on example i moves the parameters along -g_i and so the measurement by -η g_f · g_i, hence the
    sign; the step size η is left out, which makes it the change per unit of learning rate.
    """

    info = MethodInfo(
        name="grad_dot",
        title="Gradient dot product",
        citation="Pruthi et al. 2020 (TracIn, one checkpoint); Charpiat et al. 2019",
        needs=[],
        cost="one backward pass; index look-up",
        calibrated=False,
        one_line="How much one step on the example would change the prediction of the final model.",
    )

    def directions(self, query: Query) -> list[Direction]:
        return [Direction(query.final, query.gradient(query.final), -1.0)]
