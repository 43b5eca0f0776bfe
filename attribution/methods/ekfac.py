"""Influence functions with EK-FAC curvature, at the final model."""

from __future__ import annotations

from attribution.methods.registry import InfluenceFunction, MethodInfo, register


@register
class EkfacInfluence(InfluenceFunction):
    """The influence function with H in the eigenbasis of Kronecker factors (`attribution.curvature.ekfac`)."""

    info = MethodInfo(
        name="ekfac",
        title="Influence function (EK-FAC)",
        citation="Koh & Liang 2017; George et al. 2018; Grosse et al. 2023",
        needs=[],
        cost="two passes over at most 1,000 examples once; then one backward pass and an index look-up",
        calibrated=True,
        family="influence",
        one_line="How the prediction would change if the model were trained to the end without the example.",
    )
    solver = "ekfac"
