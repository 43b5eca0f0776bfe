"""`Query`: what a method may ask when it scores the training examples for one measurement.

Gradients come from the index for all training examples, or freshly computed for some of them (`restricted`),
which is exact whatever the index compresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from attribution.batches import Batch, batch_of, batches
from attribution.capture import DenseGradient, GradientCapture, PerExampleGradients
from attribution.curvature.store import CurvatureStore
from attribution.index import GradientIndex
from attribution.measurements import Measurement, logit_gradient
from attribution.progress import SILENT, Reporter
from attribution.representation import RepresentationRecorder
from attribution.task import Task
from attribution.trajectory import Point, Trajectory


@dataclass
class _Gradient:
    """Gradient of the measurement at a point: by block (1, *shape), and compressed (width,)."""

    blocks: dict[str, Tensor]
    compressed: Tensor
    norm: float


@dataclass
class Query:
    """One measurement of one test example, to be traced to the training examples.

    Args:
        task, trajectory, index, curvature: the loaded project.
        head: name of the layer that reads the representation.
        position: row of the test example.
        measurement: what is explained.
        train_labels: class numbers (N,).
        device, batch_size: where and how fresh gradients are computed.
        positions: the training examples to score; None for all of them, from the index.
    """

    task: Task
    trajectory: Trajectory
    index: GradientIndex
    curvature: CurvatureStore
    head: str
    position: int
    measurement: Measurement
    train_labels: Tensor
    device: torch.device | str = "cpu"
    batch_size: int = 64
    positions: Sequence[int] | None = None
    use_index: bool = True
    reporter: Reporter = SILENT
    _gradients: dict[int, _Gradient] = field(default_factory=dict)
    _preconditioned: dict[int, _Gradient] = field(default_factory=dict)

    # -- points of the run --------------------------------------------------------------------------------------

    @property
    def final(self) -> Point:
        """The final model."""
        return self.trajectory.final

    @property
    def checkpoints(self) -> list[Point]:
        """The checkpoints of the run, oldest first."""
        return self.trajectory.checkpoint_points

    def restricted(self, positions: Sequence[int]) -> Query:
        """The same query for some training examples only, answered without the index."""
        return Query(
            self.task,
            self.trajectory,
            self.index,
            self.curvature,
            self.head,
            self.position,
            self.measurement,
            self.train_labels,
            self.device,
            self.batch_size,
            list(positions),
            False,
            self.reporter,
            self._gradients,
            self._preconditioned,
        )

    # -- gradients ----------------------------------------------------------------------------------------------

    def dots(self, point: Point) -> Tensor:
        """g_f · g_i at a point, for each training example: float64 (N,) or (len(positions),)."""
        return self._dots(point, self._gradient(point))

    def influence(self, point: Point) -> Tensor:
        """-(1/N) g_fᵀ (H + λI)⁻¹ g_i at a point, with the automatic damping λ, for each training example."""
        if point.number not in self._preconditioned:
            curvature = self.curvature.at(point, self.reporter)
            damping = self.curvature.damping.absolute(curvature.mean_eigenvalue())
            blocks = curvature.inverse(self._gradient(point).blocks, damping)
            self._preconditioned[point.number] = self._compressed(blocks)
        return -self._dots(point, self._preconditioned[point.number]) / self.task.size("train")

    def norms(self, point: Point) -> Tensor:
        """‖g_i‖ at a point, for each training example."""
        if self.use_index:
            return self.index.norms(point.number).double()
        return self._fresh(point, self._gradient(point))[1]

    def norm(self, point: Point) -> float:
        """‖g_f‖ at a point."""
        return self._gradient(point).norm

    # -- representations ----------------------------------------------------------------------------------------

    def representations(self, point: Point) -> Tensor:
        """Representations of the training examples at a point, (N, D) or (len(positions), D)."""
        stored = self.index.representations(point.number)
        return stored if self.positions is None else stored[torch.as_tensor(list(self.positions))]

    def test_representation(self, point: Point) -> Tensor:
        """Representation (1, D) of the test example at a point."""
        model = self.trajectory.model_at(point)
        with torch.no_grad(), RepresentationRecorder(model, self.head) as recorder:
            self.task.logits(model, self._test_batch().inputs)
        return recorder.take().cpu()

    def head_module(self, point: Point) -> nn.Module:
        """The layer that turns a representation into logits, at a point."""
        return self.trajectory.model_at(point).get_submodule(self.head)

    def labels(self) -> Tensor:
        """Class numbers of the training examples in question."""
        if self.positions is None:
            return self.train_labels
        return self.train_labels[torch.as_tensor(list(self.positions))]

    def test_label(self) -> Tensor:
        """True class number of the test example, shape (1,)."""
        return self._test_batch().labels.cpu()

    def measurement_by_logit(self) -> Tensor:
        """Derivative of the measurement with respect to each logit of the final model, (C,)."""
        batch = self._test_batch()
        with torch.no_grad():
            logits = self.task.logits(self.trajectory.model_at(self.final), batch.inputs)
        return logit_gradient(self.measurement, logits, batch.labels)[0].cpu().double()

    # -- inside -------------------------------------------------------------------------------------------------

    def _test_batch(self) -> Batch:
        return batch_of(self.task, "test", [self.position]).to(self.device)

    def _capture(self, point: Point) -> GradientCapture:
        return GradientCapture(self.task, self.trajectory.model_at(point))

    def _gradient(self, point: Point) -> _Gradient:
        if point.number not in self._gradients:
            batch = self._test_batch()
            found: PerExampleGradients = self._capture(point).gradients(
                batch.inputs, batch.labels, self.measurement.value
            )
            self._gradients[point.number] = self._compressed(found.dense())
        return self._gradients[point.number]

    def _compressed(self, blocks: dict[str, Tensor]) -> _Gradient:
        """A gradient (1, *shape) by block, with what the index needs of it."""
        gradient = PerExampleGradients(
            {name: DenseGradient(block) for name, block in blocks.items()}, torch.zeros(1), torch.zeros(1, 1)
        )
        norm = float(gradient.norm_squared()[0].sqrt())
        return _Gradient(blocks, self.index.projection(gradient)[0], norm)

    def _dots(self, point: Point, query: _Gradient) -> Tensor:
        if self.use_index:
            return self.index.dots(point.number, query.compressed).double()
        return self._fresh(point, query)[0]

    def _fresh(self, point: Point, query: _Gradient) -> tuple[Tensor, Tensor]:
        """Exact inner products and norms, from gradients computed now."""
        capture = self._capture(point)
        asked = list(range(self.task.size("train"))) if self.positions is None else list(self.positions)
        place = {position: row for row, position in enumerate(asked)}
        dots, norms = (
            torch.empty(len(asked), dtype=torch.float64),
            torch.empty(len(asked), dtype=torch.float64),
        )
        work = batches(self.task, "train", self.batch_size, asked)
        count = -(-len(asked) // self.batch_size)
        for batch in self.reporter.track(work, count, f"Exact gradients at step {point.step}"):
            moved = batch.to(self.device)
            gradients = capture.gradients(moved.inputs, moved.labels, self.task.loss)
            rows = torch.tensor([place[int(p)] for p in batch.positions])
            dots[rows] = gradients.dot(query.blocks)[:, 0].double().cpu()
            norms[rows] = gradients.norm_squared().sqrt().double().cpu()
        return dots, norms
