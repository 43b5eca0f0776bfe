"""Curvature-preconditioned tracing: the influence score at every checkpoint, averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Method, MethodInfo, ProjectFacts, register
from attribution.methods.tracin import missing_checkpoints

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.query import Query


@register
class Path(Method):
    """score_i = -(1/N) mean_c g_f(θ_c)ᵀ (H_c + λI)⁻¹ g_i(θ_c) over the checkpoints c.

    Between TracIn, which has no curvature, and SOURCE, which takes the query's gradient at the end only. Measured
    here ahead of both; there is no paper to cite yet.
    """

    info = MethodInfo(
        name="path",
        title="Influence along the run",
        citation="Tracefix; between Pruthi et al. 2020 (TracIn) and Bae et al. 2024 (SOURCE)",
        needs=["checkpoints"],
        cost="per checkpoint: two passes over at most 2,000 examples once; then a backward pass and an index look-up",
        calibrated=True,
        one_line="The influence function at each checkpoint of the training run, averaged over them.",
    )

    def missing(self, facts: ProjectFacts) -> str | None:
        return missing_checkpoints(facts)

    def scores(self, query: Query) -> Tensor:
        return self.parts(query).sum(dim=0)

    def parts(self, query: Query) -> Tensor:
        import torch

        points = query.checkpoints
        return torch.stack([query.influence(point) for point in points]) / len(points)
