"""What a tiny model gets wrong, as the target of a descent."""

from __future__ import annotations

from attribution import Task
from attribution.batches import batch_of
from attribution.fixing.descent import Target


def mistakes(task: Task, count: int | None = None) -> Target:
    """The first ``count`` test examples that the model gets wrong; all of them if not given."""
    test = batch_of(task, "test", range(task.size("test")))
    predicted = task.logits(task.model, test.inputs).argmax(dim=1)
    wrong = (predicted != test.labels).nonzero()[:, 0].tolist()[:count]
    return Target(batch_of(task, "test", wrong), test.labels[wrong], predicted[wrong])
