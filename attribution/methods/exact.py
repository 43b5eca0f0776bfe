"""Influence functions with the dense Gauss-Newton matrix, for small models."""

from __future__ import annotations

from attribution.methods.registry import InfluenceFunction, MethodInfo, ProjectFacts, register

LARGEST = 10_000
"""Parameters up to which the dense matrix is formed (800 MB in float64)."""


@register
class ExactInfluence(InfluenceFunction):
    """The influence function with the Gauss-Newton matrix itself, decomposed once a session."""

    info = MethodInfo(
        name="exact",
        title="Influence function (exact)",
        citation="Koh & Liang 2017",
        needs=[f"at most {LARGEST:,} parameters"],
        cost="a backward pass per class over the training data and a dense decomposition, once a session",
        calibrated=True,
        family="influence",
        one_line="The influence function without any approximation of the curvature.",
    )
    solver = "exact"

    def missing(self, facts: ProjectFacts) -> str | None:
        if facts.parameters <= LARGEST:
            return None
        return (
            f"It forms the curvature as a dense matrix, for at most {LARGEST:,} parameters, and this model has "
            f"{facts.parameters:,}: use cg, which solves the same system."
        )
