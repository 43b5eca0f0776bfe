"""Building the gradient index: one pass over the training data per point of the run."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attribution.batches import batch_count, batches
from attribution.capture import GradientCapture
from attribution.capture.capture import check_finite
from attribution.errors import ProjectError
from attribution.index.projection import BlockProjection, Projection, plan_blocks
from attribution.index.store import FORMAT, array_file
from attribution.progress import Reporter
from attribution.projects.files import replacing
from attribution.representation import RepresentationRecorder
from attribution.task import Task
from attribution.trajectory import Point, Trajectory

DEFAULT_BUDGET = 384 * 2**20
"""Bytes that the index of a project may take on disk, all points together."""


@dataclass(frozen=True)
class IndexPlan:
    """What will be stored: the projections, their seed, and the number type."""

    blocks: list[BlockProjection]
    seed: int
    dtype: str

    def description(self) -> dict[str, Any]:
        """The plan as written to ``index.json``."""
        blocks = [
            {"name": b.name, "shape": list(b.shape), "left": b.left, "right": b.right} for b in self.blocks
        ]
        return {"format": FORMAT, "seed": self.seed, "dtype": self.dtype, "blocks": blocks}


def plan_index(
    shapes: dict[str, tuple[int, ...]],
    examples: int,
    points: int,
    budget: int = DEFAULT_BUDGET,
    seed: int = 0,
) -> IndexPlan:
    """Choose what to store so that ``points`` × ``examples`` rows stay within ``budget`` bytes.

    Whole gradients in float32 where they fit, else random projections in float16.
    """
    whole = sum(int(np.prod(shape)) for shape in shapes.values())
    if whole * 4 * examples * points <= budget:
        return IndexPlan([BlockProjection(n, s, None, None) for n, s in shapes.items()], seed, "float32")
    width = min(max(budget // (2 * examples * points), 256), 4096)
    return IndexPlan(plan_blocks(shapes, width), seed, "float16")


def build_point(
    task: Task,
    trajectory: Trajectory,
    point: Point,
    head: str | None,
    plan: IndexPlan,
    directory: Path,
    *,
    device: torch.device | str,
    precision: str,
    batch_size: int,
    reporter: Reporter,
) -> None:
    """Store the training gradients, norms, logits and representations of one point; they appear together at the end.

    ``head`` names the layer that reads the representation; None stores none.

    Raises:
        NumericalError: a loss or gradient is NaN or infinite.
        ProjectError: the folder cannot be written.
        Cancelled: the user asked for a stop; no array of this point is left behind.
    """
    model = trajectory.model_at(point)
    capture = GradientCapture(task, model, precision=precision)
    projection = Projection(plan.blocks, plan.seed, device)
    examples = task.size("train")
    writer = _Writer(directory, point.number, examples, {"gradients": plan.dtype})
    with writer, RepresentationRecorder(model, head) if head is not None else nullcontext() as recorder:
        work = batches(task, "train", batch_size)
        message = f"Gradients at step {point.step} ({examples:,} examples)"
        for batch in reporter.track(work, batch_count(examples, batch_size), message):
            moved = batch.to(device)
            gradients = capture.gradients(moved.inputs, moved.labels, task.loss)
            rows = projection(gradients)
            check_finite(rows, f"A training gradient at step {point.step}")
            norms = gradients.norm_squared().sqrt()
            # Rows of unit length keep tiny gradients (well-fitted examples) exact in float16.
            writer.write("gradients", batch.positions, rows / norms.clamp_min(1e-30).unsqueeze(1))
            writer.write("norms", batch.positions, norms)
            writer.write("logits", batch.positions, gradients.logits)
            if recorder is not None:
                writer.write("representations", batch.positions, recorder.take())


class _Writer:
    """Arrays written row by row under temporary names, renamed when all is done."""

    def __init__(self, directory: Path, number: int, examples: int, dtypes: dict[str, str]) -> None:
        self._directory = directory
        self._number = number
        self._examples = examples
        self._dtypes = dtypes
        self._open: dict[str, Any] = {}
        self._files = ExitStack()

    def __enter__(self) -> _Writer:
        return self

    def write(self, name: str, positions: Tensor, rows: Tensor) -> None:
        values = rows.detach().float().cpu().numpy()
        if name not in self._open:
            temporary = self._files.enter_context(replacing(array_file(self._directory, self._number, name)))
            try:
                self._open[name] = np.lib.format.open_memmap(
                    temporary,
                    mode="w+",
                    dtype=self._dtypes.get(name, "float32"),
                    shape=(self._examples, *values.shape[1:]),
                )
            except OSError as error:
                raise ProjectError(
                    f"Cannot write '{temporary}' ({error}): free some space and try again."
                ) from error
        self._open[name][positions.numpy()] = values

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        for name in list(self._open):
            self._open.pop(name).flush()
        return self._files.__exit__(kind, error, trace)
