"""The on-disk gradient index: per-example training gradients in the coordinates that matter, in checksummed shards."""

from attribution.index.build import IndexBuilder
from attribution.index.plan import IndexPlan, plan_index
from attribution.index.store import GradientIndex

__all__ = ["GradientIndex", "IndexBuilder", "IndexPlan", "plan_index"]
