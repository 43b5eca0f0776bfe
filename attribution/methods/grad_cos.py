"""Gradient cosine: the gradient dot product without the size of the gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Method, MethodInfo, register

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.query import Query

_SMALLEST_NORM = 1e-30
"""Norms below this count as zero gradients, whose score is 0."""


@register
class GradCos(Method):
    """score_i = -cos(g_f, g_i) at the final parameters: outliers with huge gradients do not come first everywhere."""

    info = MethodInfo(
        name="grad_cos",
        title="Gradient cosine",
        citation="Charpiat et al. 2019; Barshan et al. 2020 (RelatIF)",
        needs=[],
        cost="one backward pass; index look-up",
        calibrated=False,
        one_line="Whether the example pulls the parameters the same way, whatever its size.",
    )

    def scores(self, query: Query) -> Tensor:
        point = query.final
        lengths = query.norm(point).unsqueeze(1) * query.norms(point)
        return -query.dots(point, query.gradient(point)) / lengths.clamp_min(_SMALLEST_NORM)
