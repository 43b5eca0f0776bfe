"""Curvature-preconditioned tracing: the influence score at every checkpoint, averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Direction, DirectionalMethod, MethodInfo, ProjectFacts, register

if TYPE_CHECKING:
    from attribution.query import Query


@register
class Path(DirectionalMethod):
    """score_i = -(1/N) mean_c g_f(θ_c)ᵀ (H_c + λI)⁻¹ g_i(θ_c) over the checkpoints c.

    Between TracIn, which has no curvature, and SOURCE, which takes the query's gradient at the end only. Measured
    here ahead of both; there is no paper to cite yet.
    """

    info = MethodInfo(
        name="path",
        title="Influence along the run",
        citation="Tracefix; between Pruthi et al. 2020 (TracIn) and Bae et al. 2024 (SOURCE)",
        needs=["checkpoints"],
        cost="per checkpoint: two passes over at most 1,000 examples once; then a backward pass and an index look-up",
        calibrated=True,
        family="run",
        one_line="The influence function at each checkpoint of the training run, averaged over them.",
    )

    along_the_run = True

    def points(self, facts: ProjectFacts) -> list[int]:
        return list(facts.traced)

    def directions(self, query: Query) -> list[Direction]:
        factor = -1 / query.task.size("train") / len(query.traced)
        return [Direction(p, query.preconditioned(p), factor) for p in query.traced]
