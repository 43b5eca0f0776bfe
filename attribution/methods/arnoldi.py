"""Influence functions in the leading eigenspace of the curvature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import InfluenceFunction, MethodInfo, register

if TYPE_CHECKING:
    from attribution.progress import Reporter
    from attribution.query import Loaded


@register
class ArnoldiInfluence(InfluenceFunction):
    """score_i = -(1/N) Σ_j (u_j · g_f)(u_j · g_i) / λ_j over the leading eigenpairs of H, without damping."""

    info = MethodInfo(
        name="arnoldi",
        title="Influence function (Arnoldi)",
        citation="Schioppa et al. 2022",
        needs=[],
        cost="200 passes over at most 1,000 examples once; then one backward pass and an index look-up",
        calibrated=True,
        family="influence",
        one_line="The influence function along the directions in which the loss curves most.",
    )
    solver = "arnoldi"

    def fit(self, loaded: Loaded, reporter: Reporter) -> None:
        loaded.curvature.solver("arnoldi", loaded.trajectory.final, reporter)
