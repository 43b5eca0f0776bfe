"""The on-disk gradient index: per-example training gradients, compressed, one file a point of the run."""

from attribution.index.build import IndexPlan, build_point, plan_index
from attribution.index.store import GradientIndex

__all__ = ["GradientIndex", "IndexPlan", "build_point", "plan_index"]
