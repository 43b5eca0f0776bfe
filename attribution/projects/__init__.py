"""Project directories: reading, writing, validating. Nothing here imports torch."""

from attribution.projects.history import History
from attribution.projects.manifest import (
    CheckpointRecord,
    Manifest,
    TaskSource,
    TrainingRecord,
    TransformersSource,
    read_manifest,
)
from attribution.projects.project import Project, create_project
from attribution.projects.records import ControlRecord, Edit, FixRecord, TargetRecord
from attribution.projects.verification_record import VerificationRecord

__all__ = [
    "CheckpointRecord",
    "ControlRecord",
    "Edit",
    "FixRecord",
    "History",
    "Manifest",
    "Project",
    "TargetRecord",
    "TaskSource",
    "TrainingRecord",
    "TransformersSource",
    "VerificationRecord",
    "create_project",
    "read_manifest",
]
