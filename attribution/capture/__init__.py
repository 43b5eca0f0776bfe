"""Per-example gradients of a whole batch in one backward pass, without a loop over examples."""

from attribution.capture.capture import GradientCapture, PerExampleGradients, ValueFunction
from attribution.capture.gradients import (
    BlockGradient,
    DenseGradient,
    EmbeddingGradient,
    FactoredGradient,
    Side,
)
from attribution.capture.stream import gradient_stream

__all__ = [
    "BlockGradient",
    "DenseGradient",
    "EmbeddingGradient",
    "FactoredGradient",
    "GradientCapture",
    "PerExampleGradients",
    "Side",
    "ValueFunction",
    "gradient_stream",
]
