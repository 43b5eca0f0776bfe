"""Influence functions by the LiSSA recursion."""

from __future__ import annotations

from attribution.methods.registry import InfluenceFunction, MethodInfo, register


@register
class LissaInfluence(InfluenceFunction):
    """The influence function by a truncated Neumann series (`attribution.curvature.lissa`).

    Directions of small curvature are not settled after the fixed number of steps, which acts as a further damping;
    the trust line says how large the residual is.
    """

    info = MethodInfo(
        name="lissa",
        title="Influence function (LiSSA)",
        citation="Agarwal et al. 2017; Koh & Liang 2017",
        needs=[],
        cost="500 passes over at most 1,000 examples per query",
        calibrated=True,
        family="influence",
        one_line="The influence function by the recursion that most papers use.",
    )
    solver = "lissa"
