"""Influence functions by DataInf."""

from __future__ import annotations

from attribution.methods.registry import InfluenceFunction, MethodInfo, register


@register
class DataInfInfluence(InfluenceFunction):
    """The influence function with the closed-form inverse of `attribution.curvature.datainf`.

    Its curvature is the empirical Fisher with a damping of its own for each block, so only the ranks mean something.
    """

    info = MethodInfo(
        name="datainf",
        title="DataInf",
        citation="Kwon et al. 2023",
        needs=[],
        cost="two passes over at most 10,000 examples per query",
        calibrated=False,
        family="influence",
        one_line="The influence function with each example's own curvature inverted by formula.",
    )
    solver = "datainf"
    estimates_retraining = False
