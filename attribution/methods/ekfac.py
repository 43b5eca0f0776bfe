"""Influence functions with EK-FAC curvature, at the final model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Direction, DirectionalMethod, MethodInfo, register

if TYPE_CHECKING:
    from attribution.query import Query


@register
class EkfacInfluence(DirectionalMethod):
    """score_i = -(1/N) g_fᵀ (H + λI)⁻¹ g_i (Koh & Liang 2017), H by EK-FAC.

    Giving example i the extra weight ε moves the optimum of the training objective by -(ε/N) H⁻¹ g_i and so the
    measurement by -(ε/N) g_fᵀ H⁻¹ g_i: taking the example out (ε = -1) changes it by minus the score. The damping
    λ is chosen from the training record (`attribution.curvature.damping`).
    """

    info = MethodInfo(
        name="ekfac",
        title="Influence function (EK-FAC)",
        citation="Koh & Liang 2017; George et al. 2018; Grosse et al. 2023",
        needs=[],
        cost="two passes over at most 1,000 examples once; then one backward pass and an index look-up",
        calibrated=True,
        one_line="How the prediction would change if the model were trained to the end without the example.",
    )

    def directions(self, query: Query) -> list[Direction]:
        return [Direction(query.final, query.preconditioned(query.final), -1 / query.task.size("train"))]
