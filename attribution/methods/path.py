"""Curvature-preconditioned tracing: the influence score at several checkpoints, averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Direction, DirectionalMethod, MethodInfo, ProjectFacts, register

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.query import Query


@register
class Path(DirectionalMethod):
    """score_i = -(1/N) mean_c w_c g_f(θ_c)ᵀ (H_c + λI)⁻¹ g_i(θ_c) over the checkpoints c.

    The weights w_c let every checkpoint speak for the direction of g_f alone: the length of g_f in the metric of
    (H_c + λI)⁻¹ grows and shrinks along the run for reasons of its own (a fitted example hardly has a gradient), and
    is replaced by its mean over the checkpoints. Between TracIn, which has no curvature, and SOURCE, which takes the
    query's gradient at the end only. Measured here ahead of both; there is no paper to cite yet.
    """

    info = MethodInfo(
        name="path",
        title="Influence along the run",
        citation="Tracefix; between Pruthi et al. 2020 (TracIn) and Bae et al. 2024 (SOURCE)",
        needs=["checkpoints"],
        cost="per checkpoint: two passes over at most 1,000 examples once; then a backward pass and an index look-up",
        calibrated=True,
        family="run",
        one_line="The influence function at a few checkpoints of the training run, averaged with equal say.",
    )

    along_the_run = True
    estimates_retraining = True

    def points(self, facts: ProjectFacts) -> list[int]:
        return list(facts.traced)

    def directions(self, query: Query) -> list[Direction]:
        import torch

        factor = -1 / query.task.size("train") / len(query.traced)
        weights = balanced(torch.stack([query.influence_length(point) for point in query.traced]))
        return [
            Direction(point, query.preconditioned(point), factor * weight.unsqueeze(1))
            for point, weight in zip(query.traced, weights, strict=True)
        ]


def balanced(lengths: Tensor) -> Tensor:
    """Weights (points, Q) that give gradients of these lengths (points, Q) their mean length; 0 where there is none."""
    mean = lengths.mean(dim=0, keepdim=True)
    return (mean / lengths).where(lengths > 0, 0.0)
