"""Influence functions with the Gauss-Newton matrix itself, inverted by conjugate gradients."""

from __future__ import annotations

from attribution.methods.registry import InfluenceFunction, MethodInfo, register


@register
class ConjugateGradientInfluence(InfluenceFunction):
    """The influence function with products of H only (Martens 2010), preconditioned by EK-FAC."""

    info = MethodInfo(
        name="cg",
        title="Influence function (conjugate gradients)",
        citation="Koh & Liang 2017; Martens 2010",
        needs=[],
        cost="tens of passes over at most 10,000 examples per query",
        calibrated=True,
        family="influence",
        one_line="The influence function with the curvature inverted as exactly as asked for.",
    )
    solver = "cg"
