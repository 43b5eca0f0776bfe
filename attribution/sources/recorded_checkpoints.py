"""The checkpoints that a manifest records, as a task takes them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from attribution.projects import Project
from attribution.projects.manifest import CheckpointRecord
from attribution.sources.checkpoint_list import PICKLED
from attribution.sources.optimizer_state import read_second_moments
from attribution.sources.weight_files import prefix_before, read_weight_file
from attribution.task import Checkpoint


def recorded_checkpoints(
    project: Project, records: Sequence[CheckpointRecord], model: nn.Module
) -> list[Checkpoint]:
    """Checkpoints whose weights are read when they are used.

    Raises:
        ProjectError: a file is damaged, or an optimizer's state is not that of the model.
    """
    return [_checkpoint(project, record, model) for record in records]


def _checkpoint(project: Project, record: CheckpointRecord, model: nn.Module) -> Checkpoint:
    path = project.resolve(record.path)
    pickled = path.suffix.lower() in PICKLED
    return Checkpoint(
        path,
        learning_rate=record.learning_rate,
        step=record.step,
        second_moments=(
            read_second_moments(project.resolve(record.second_moments), model)
            if record.second_moments
            else None
        ),
        prefix=prefix_before(read_weight_file(path).tensors, model) if pickled else "",
    )
