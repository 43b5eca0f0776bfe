"""FAST-SOURCE: SOURCE with one evaluation per segment, at its mean parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from attribution.methods.registry import MethodInfo, ProjectFacts, register
from attribution.methods.source import Source

if TYPE_CHECKING:
    from attribution.query import Loaded
    from attribution.segments import Segment


@register
class FastSource(Source):
    """SOURCE with curvature and gradients taken once per segment, at the mean of its checkpoints' parameters."""

    info = MethodInfo(
        name="fast_source",
        title="FAST-SOURCE (segments of averaged weights)",
        citation="Bae et al. 2024 (FAST-SOURCE)",
        needs=Source.info.needs,
        cost="per segment: two passes over at most 1,000 examples and one over all, once; then one backward pass and "
        "an index look-up per segment",
        calibrated=True,
        family="run",
        one_line="SOURCE at the averaged weights of each part of the run, for a fraction of the work.",
    )

    def points(self, facts: ProjectFacts) -> list[int]:
        return list(facts.segment_means)

    def _segments_of(self, loaded: Loaded) -> list[Segment]:
        means = loaded.trajectory.segment_means
        segments = super()._segments_of(loaded)
        return [replace(segment, points=[mean]) for segment, mean in zip(segments, means, strict=True)]
