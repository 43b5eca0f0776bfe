"""Building the gradient index: one pass over the training data per point of the run, shard by shard."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from attribution.capture import GradientCapture, gradient_stream
from attribution.curvature.store import CurvatureStore
from attribution.finite import check_finite
from attribution.index.coordinates import Coordinates, choose_coordinates
from attribution.index.plan import IndexPlan
from attribution.index.shards import gradient_numbers, shard_rows
from attribution.progress import Reporter
from attribution.projects.ledger import Ledger
from attribution.representation import RepresentationRecorder
from attribution.task import Task
from attribution.tensors import write_tensors
from attribution.trajectory import Point, Trajectory

FITTING_SHARE = 0.3
"""Part of a point's time that fitting its curvature takes, for the progress bar."""


class IndexBuilder:
    """Builds what an index lacks.

    Args:
        task, trajectory, curvature: the loaded project.
        head: name of the layer that reads the representation; None stores none.
        plan: what is stored.
        ledger: of the index; complete files enter it.
        device, precision, batch_size: how gradients are computed.
    """

    def __init__(
        self,
        task: Task,
        trajectory: Trajectory,
        curvature: CurvatureStore,
        head: str | None,
        plan: IndexPlan,
        ledger: Ledger,
        *,
        device: torch.device | str,
        precision: str,
        batch_size: int,
    ) -> None:
        self._task = task
        self._trajectory = trajectory
        self._curvature = curvature
        self._head = head
        self._plan = plan
        self._ledger = ledger
        self._device = device
        self._precision = precision
        self._batch_size = batch_size

    def build(self, point: Point, reporter: Reporter) -> None:
        """Store coordinates, training gradients, norms, logits and representations of a point, where they are missing.

        Raises:
            NumericalError: a loss or gradient is NaN or infinite.
            ProjectError: the folder cannot be written.
            Cancelled: the user asked for a stop; complete shards are kept.
        """
        shards = shard_rows(self._task.size("train"), self._plan.shard_rows)
        missing = [
            (name, rows)
            for number, rows in enumerate(shards)
            if (name := shard_name(point.number, number)) not in self._ledger.files
        ]
        if not missing:
            return
        coordinates = self._coordinates(point, reporter.share(0.0, FITTING_SHARE)).to(self._device)
        capture = GradientCapture(self._task, self._trajectory.model_at(point), precision=self._precision)
        left = reporter.share(FITTING_SHARE, 1.0)
        for number, (name, rows) in enumerate(missing):
            share = left.share(number / len(missing), (number + 1) / len(missing))
            shard = self._shard(capture, coordinates, point, rows, share)
            write_tensors(self._ledger.directory / name, shard)
            self._ledger.add(name)

    def _coordinates(self, point: Point, reporter: Reporter) -> Coordinates:
        name = coordinates_name(point.number)
        if name not in self._ledger.files:
            curvature = self._curvature.at(point, reporter)
            damping = self._curvature.damping.absolute(curvature.mean_eigenvalue())
            chosen = choose_coordinates(curvature, damping, self._plan.width)
            chosen.save(self._ledger.directory / name)
            self._ledger.add(name)
        return Coordinates.load(self._ledger.verified(name))

    def _shard(
        self,
        capture: GradientCapture,
        coordinates: Coordinates,
        point: Point,
        rows: range,
        reporter: Reporter,
    ) -> dict[str, Tensor]:
        stored: dict[str, Tensor] = {}

        def keep(name: str, positions: Tensor, values: Tensor, kind: torch.dtype) -> None:
            if name not in stored:
                stored[name] = torch.empty(len(rows), *values.shape[1:], dtype=kind)
            stored[name][positions - rows.start] = values.detach().to("cpu", kind)

        model = capture.model
        with (
            RepresentationRecorder(model, self._head) if self._head is not None else nullcontext() as recorder
        ):
            stream = gradient_stream(
                self._task,
                capture,
                lambda positions: self._task.loss,
                positions=rows,
                batch_size=self._batch_size,
                device=self._device,
                reporter=reporter,
                message=f"Gradients at step {point.step} (examples {rows.start:,} to {rows.stop:,})",
            )
            for positions, gradients in stream:
                values = coordinates.rows(gradients)
                lengths = torch.linalg.vector_norm(values, dim=1)
                check_finite(lengths, f"A training gradient at step {point.step}")
                # Rows of unit length keep tiny gradients (well-fitted examples) exact in float16.
                unit = values.div_(lengths.clamp_min(1e-30).unsqueeze(1))
                keep("gradients", positions, unit, gradient_numbers(self._plan.dtype))
                keep("lengths", positions, lengths, torch.float32)
                keep("norms", positions, gradients.norm_squared().sqrt(), torch.float32)
                keep("logits", positions, gradients.logits, torch.float32)
                if recorder is not None:
                    keep("representations", positions, recorder.take(), torch.float32)
        return stored


def shard_name(point: int, number: int) -> str:
    """Path of a shard within the index."""
    return f"point-{point}/shard-{number:05d}.safetensors"


def coordinates_name(point: int) -> str:
    """Path of a point's coordinates within the index."""
    return f"point-{point}/coordinates.safetensors"
