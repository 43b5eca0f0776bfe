"""SOURCE: approximate unrolled differentiation of the training run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Direction, DirectionalMethod, MethodInfo, ProjectFacts, register

if TYPE_CHECKING:
    from attribution.progress import Reporter
    from attribution.query import Loaded, Query, Vectors
    from attribution.segments import Segment


@register
class Source(DirectionalMethod):
    """score_i = -(1/N) g_fᵀ Σ_l (Π_{l' > l} S_l') (I - S_l) H_l⁻¹ mean_c g_i(θ_c) (Bae et al. 2024).

    S_l = exp(-η_l K_l H_l) is what segment l of the run leaves of a change of the parameters. Curvature H_l and
    training gradients are means over the segment's checkpoints c, the measurement's gradient g_f is that of the final
    model. Weight decay w counts as curvature: H_l + wI. For Adam its preconditioner P_l comes in, from second
    moments averaged over the segment's checkpoints too (`attribution.dynamics` derives both).

    Args:
        segments: how many, `attribution.trajectory.SEGMENTS` by default; fewer where there are fewer checkpoints.
    """

    info = MethodInfo(
        name="source",
        title="SOURCE (unrolled training)",
        citation="Bae et al. 2024",
        needs=["checkpoints", "a training record of SGD, or of Adam with its second moments"],
        cost="per checkpoint: four passes over at most 1,000 examples and one over all, once; then one backward pass "
        "and an index look-up per checkpoint",
        calibrated=True,
        family="run",
        one_line="The effect of the example's steps on the final model, followed through the rest of the run.",
    )

    along_the_run = True
    estimates_retraining = True

    def __init__(self, segments: int | None = None) -> None:
        self._segments = segments

    def missing(self, facts: ProjectFacts) -> str | None:
        problem = super().missing(facts)
        if problem is not None or facts.optimizer == "sgd":
            return problem
        if facts.optimizer == "unknown":
            return (
                "It unrolls SGD or Adam, and the training record of this project names neither: use path, which does "
                "not depend on the optimizer."
            )
        if not facts.second_moments:
            return (
                f"This model was trained with {facts.optimizer}, and its checkpoints lack Adam's second moments: make "
                "the project from checkpoint folders that still have their optimizer.pt, or pass "
                "Checkpoint(second_moments=...); path does without them."
            )
        return None

    def fit(self, loaded: Loaded, reporter: Reporter) -> None:
        segments = self._segments_of(loaded)
        for done, segment in enumerate(segments):
            share = reporter.share(done / len(segments), (done + 1) / len(segments))
            loaded.curvature.over(segment.points, share)

    def directions(self, query: Query) -> list[Direction]:
        return self._followed_back(query)[0]

    def at_the_start(self, query: Query) -> Vectors:
        """How the measurements see a change of the parameters that was there before the run, by block (Q, *shape)."""
        return self._followed_back(query)[1]

    def _followed_back(self, query: Query) -> tuple[list[Direction], Vectors]:
        factor = -1 / query.task.size("train")
        remaining = query.gradient(query.final)
        found: list[Direction] = []
        for segment in reversed(self._segments_of(query.loaded)):
            dynamics = segment.dynamics(query.task, query.loaded.curvature, query.reporter)
            vectors = dynamics.accumulated(remaining)
            share = factor / len(segment.points)
            found = [*(Direction(point, vectors, share) for point in segment.points), *found]
            remaining = dynamics.kept(remaining)
        return found, remaining

    def _segments_of(self, loaded: Loaded) -> list[Segment]:
        from attribution.segments import segments_of
        from attribution.trajectory import SEGMENTS

        return segments_of(loaded.task, loaded.trajectory.followed, self._segments or SEGMENTS)
