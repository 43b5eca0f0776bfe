"""TRAK: least squares on randomly projected gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attribution.methods.registry import Method, MethodInfo, ProjectFacts, register

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.progress import Reporter
    from attribution.query import Loaded, Query
    from attribution.sketch import CountSketch

WIDTH = 512
"""Dimension of the projection where there are at least eight times as many examples, else an eighth of their number:
with more, single examples count too much (linear datamodeling score on 1,000 noisy digits: .35 at 128, .22 at 512).
"""

SEED = 0

_ROUNDING = 1e-9
"""Eigenvalues of ΦᵀΦ below this share of the largest are zero but for the rounding of float32 gradients."""


@register
class Trak(Method):
    """score_i = φ_f (ΦᵀΦ + λI)⁻¹ φ_i (1 - p_i) with projected gradients φ_i of the log-odds (Park et al. 2023).

    The gradient of the cross-entropy is -(1 - p_i) φ_i, so the score has the sign of the influence function. Of an
    ensemble the two factors, φ_f (ΦᵀΦ + λI)⁻¹ φ_i and 1 - p_i, are averaged each on its own.

    Args:
        width: dimension of the projection; chosen by the number of examples if None.
        ridge: λ, over the mean of the diagonal of ΦᵀΦ. Without it the examples must outnumber the dimensions.
    """

    info = MethodInfo(
        name="trak",
        title="TRAK",
        citation="Park et al. 2023",
        needs=[],
        cost="one pass over the training data once; then one backward pass and a small matrix product",
        calibrated=False,
        one_line="Least squares on a random projection of the gradients, as if the model were linear in it.",
    )
    from_gradients = False

    def __init__(self, width: int | None = None, ridge: float = 0.0) -> None:
        self._width = width
        self._ridge = ridge

    def missing(self, facts: ProjectFacts) -> str | None:
        if self._ridge > 0 or self._width is None or self._width <= facts.n_train:
            return None
        return (
            f"Its projection has {self._width:,} dimensions, more than the {facts.n_train:,} training examples: use "
            "fewer dimensions or a ridge."
        )

    def fit(self, loaded: Loaded, reporter: Reporter) -> None:
        self._features(loaded, reporter)

    def scores(self, query: Query) -> Tensor:
        return self.averaged([query])

    def averaged(self, queries: Sequence[Query]) -> Tensor:
        import torch

        kernels = torch.stack([self._kernel(query) for query in queries]).mean(dim=0)
        residuals = torch.stack([self._residuals(query) for query in queries]).mean(dim=0)
        return queries[0].asked((kernels * residuals).T).T

    def _kernel(self, query: Query) -> Tensor:
        features, sketch = self._features(query.loaded, query.reporter)
        mine = sketch.of(query.gradient(query.final)).cpu()
        return trak_kernel(features, mine, self._ridge)

    def _residuals(self, query: Query) -> Tensor:
        chances = query.loaded.index.array(query.final.number, "logits").double().softmax(dim=1)
        return 1 - chances.gather(1, query.loaded.train_labels.unsqueeze(1)).squeeze(1)

    def _features(self, loaded: Loaded, reporter: Reporter) -> tuple[Tensor, CountSketch]:
        from attribution.capture import GradientCapture
        from attribution.sketch import CountSketch, log_odds_features

        count = loaded.task.size("train")
        width = self._width or max(1, min(WIDTH, count // 8))
        model = loaded.trajectory.model_at(loaded.trajectory.final)
        shapes = GradientCapture(loaded.task, model).shapes
        sketch = CountSketch(shapes, width, SEED, loaded.device)
        return log_odds_features(loaded, sketch, f"log-odds-{width}", reporter), sketch


def trak_kernel(features: Tensor, queries: Tensor, ridge: float = 0.0) -> Tensor:
    """φ_f (ΦᵀΦ + λI)⁻¹ φ_i (Q, N) in float64, from projected gradients Φ (N, k) and φ_f (Q, k).

    Raises:
        UsageError: more dimensions than examples, without a ridge.
    """
    import torch

    from attribution.errors import UsageError

    count, width = features.shape
    if width > count and ridge <= 0:
        raise UsageError(
            f"A projection to {width:,} dimensions needs at least as many examples, and there are {count:,}: "
            "use fewer dimensions or a ridge."
        )
    rows = features.double()
    gram = rows.T @ rows
    gram.diagonal().add_(ridge * float(gram.diagonal().mean()))
    # Of a model with few parameters the projections depend on one another: least squares of the smallest norm.
    inverse = torch.linalg.pinv(gram, rtol=_ROUNDING, hermitian=True)
    kernel: Tensor = queries.double() @ inverse @ rows.T
    return kernel
