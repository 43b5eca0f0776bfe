"""`Query`: what a method may ask when it scores the training examples for measurements of test examples.

Gradients come from the index for all training examples, or freshly computed for some of them (`restricted`),
which is exact whatever the index leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from attribution.batches import Batch, batch_of
from attribution.capture import (
    BlockGradient,
    DenseGradient,
    GradientCapture,
    PerExampleGradients,
    gradient_stream,
)
from attribution.curvature import CurvatureStore
from attribution.curvature.conjugate_gradient import ConjugateGradient
from attribution.curvature.store import Solver
from attribution.index import GradientIndex
from attribution.measurements import Measurement, logit_gradient, row_by_row
from attribution.progress import SILENT, Reporter
from attribution.representation import RepresentationRecorder
from attribution.task import Task
from attribution.trajectory import Point, Trajectory

Vectors = Mapping[str, Tensor]
"""Q vectors by block, each (Q, *shape)."""


class Preconditioned(Mapping[str, Tensor]):
    """(H + λI)⁻¹ g by block, solved when a block is first looked at.

    Args:
        gradient: g.
        solve: gives the blocks.
    """

    def __init__(self, gradient: Vectors, solve: Callable[[], Vectors]) -> None:
        self.gradient = gradient
        self._solve = solve

    @cached_property
    def _blocks(self) -> Vectors:
        return self._solve()

    def __getitem__(self, name: str) -> Tensor:
        return self._blocks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.gradient)

    def __len__(self) -> int:
        return len(self.gradient)


@dataclass(frozen=True)
class Target:
    """A test example (row of the test split) and what of it is explained."""

    position: int
    measurement: Measurement


@dataclass(frozen=True)
class Loaded:
    """A prepared task in memory.

    Args:
        task, trajectory, index, curvature: its parts.
        head: name of the layer that reads the representation; empty where there is none.
        train_labels: class numbers (N,).
        device, batch_size: where and how fresh gradients are computed.
        texts: the examples of a split as texts, where they are texts.
    """

    task: Task
    trajectory: Trajectory
    index: GradientIndex
    curvature: CurvatureStore
    head: str
    train_labels: Tensor
    device: torch.device | str
    batch_size: int
    texts: Callable[[str], list[str]]


@dataclass(frozen=True)
class Solving:
    """At most so many steps of conjugate gradients, converged or not, on at most so many training examples."""

    steps: int
    examples: int


@dataclass
class Query:
    """Q measurements, to be traced to the training examples.

    Args:
        loaded: the task.
        targets: the Q test examples with their measurements.
        positions: the training examples to score; None for all N of them.
        use_index: whether inner products come from the index.
        refine: whether curvature is inverted exactly (conjugate gradients) rather than by EK-FAC alone.
        solving: how far conjugate gradients go; None where they must converge.
    """

    loaded: Loaded
    targets: Sequence[Target]
    positions: Sequence[int] | None = None
    use_index: bool = True
    refine: bool = False
    solving: Solving | None = None
    reporter: Reporter = SILENT
    residuals: list[float] = field(default_factory=list)
    """Relative residual of each solve, where one was iterative."""
    _gradients: dict[int, Vectors] = field(default_factory=dict)
    _preconditioned: dict[tuple[int, Solver], Vectors] = field(default_factory=dict)

    # -- points of the run --------------------------------------------------------------------------------------

    @property
    def task(self) -> Task:
        """The task."""
        return self.loaded.task

    @property
    def final(self) -> Point:
        """The final model."""
        return self.loaded.trajectory.final

    @property
    def followed(self) -> list[Point]:
        """The checkpoints of the run, oldest first."""
        return self.loaded.trajectory.followed

    @property
    def traced(self) -> list[Point]:
        """The few checkpoints that stand for the run, oldest first."""
        return self.loaded.trajectory.traced

    def restricted(self, positions: Sequence[int]) -> Query:
        """The same query for some training examples only, answered without the index."""
        return replace(self, positions=list(positions), use_index=False)

    def asked(self, rows: Tensor) -> Tensor:
        """Of something per training example (N, ...) the rows in question."""
        return rows if self.positions is None else rows[torch.as_tensor(list(self.positions))]

    # -- gradients ----------------------------------------------------------------------------------------------

    def dots(self, point: Point, vectors: Vectors) -> Tensor:
        """Inner products of vectors (Q, *shape) with the training gradients at a point: float64 (Q, N), or (Q, n)."""
        if self.use_index:
            index = self.loaded.index
            coordinates = index.coordinates(point.number)
            if isinstance(vectors, Preconditioned):
                # Stored rows are whitened: with the query's gradient whitened alike, their product is the influence.
                asked = coordinates.rows(as_gradients(vectors.gradient))
            else:
                asked = coordinates.query(vectors)
            return index.dots(point.number, asked).double()
        return self._fresh(point, lambda gradients: gradients.dot(vectors), len(self.targets))

    def norms(self, point: Point) -> Tensor:
        """‖g_i‖ at a point, for each training example: (N,) or (len(positions),)."""
        if self.use_index:
            return self.loaded.index.norms(point.number).double()
        return self._fresh(point, lambda gradients: gradients.norm_squared().sqrt().unsqueeze(1), 1)[0]

    def norm(self, point: Point) -> Tensor:
        """‖g_f‖ at a point: (Q,)."""
        parts = [block.double().flatten(1).square().sum(dim=1) for block in self.gradient(point).values()]
        return torch.stack(parts).sum(dim=0).sqrt().cpu()

    def gradient(self, point: Point) -> Vectors:
        """Gradients of the measurements at a point, by block."""
        if point.number not in self._gradients:
            batch = self._test_batch()
            value = row_by_row([target.measurement for target in self.targets])
            found = self._capture(point).gradients(batch.inputs, batch.labels, value)
            self._gradients[point.number] = found.dense()
        return self._gradients[point.number]

    def gradients_of(self, model: nn.Module) -> dict[str, Tensor]:
        """Gradients of the measurements in what another copy of the model trains, by parameter (Q, *shape)."""
        task = replace(self.task)  # frozen layers have to run: their stored states let no gradient through
        capture = GradientCapture(task, model)
        positions = [target.position for target in self.targets]
        batch = batch_of(task, "test", positions).to(self.loaded.device)
        value = row_by_row([target.measurement for target in self.targets])
        return capture.by_parameter(capture.gradients(batch.inputs, batch.labels, value))

    def preconditioned(self, point: Point, solver: Solver = "ekfac") -> Vectors:
        """(H + λI)⁻¹ g_f at a point, by block; with EK-FAC solved when a block is first looked at."""
        if self.refine and solver == "ekfac":
            solver = "cg"
        key = (point.number, solver)
        if key not in self._preconditioned:
            self._preconditioned[key] = (
                Preconditioned(self.gradient(point), lambda: self._solved(point, "ekfac"))
                if solver == "ekfac"
                else self._solved(point, solver)
            )
        return self._preconditioned[key]

    @property
    def solvers(self) -> set[Solver]:
        """What inverted the curvature for the answers so far."""
        return {solver for _, solver in self._preconditioned}

    def influence_length(self, point: Point) -> Tensor:
        """√(g_fᵀ (H + λI)⁻¹ g_f) at a point, (Q,): the length of each gradient in the metric of its influence."""
        if not self.refine:
            curvature = self.loaded.curvature
            damping = curvature.damping_at(point, "ekfac", self.reporter)
            form = curvature.at(point, self.reporter).inverse_form(self.gradient(point), damping)
            return form.clamp_min(0.0).sqrt().cpu()
        gradient, solved = self.gradient(point), self.preconditioned(point)
        parts = [(gradient[name].double() * solved[name].double()).flatten(1).sum(dim=1) for name in gradient]
        return torch.stack(parts).sum(dim=0).clamp_min(0.0).sqrt().cpu()

    def _solved(self, point: Point, solver: Solver) -> Vectors:
        curvature = self.loaded.curvature
        effort = {} if self.solving is None else {"examples": self.solving.examples}
        found = curvature.solver(solver, point, self.reporter, **effort)
        if self.solving is not None and isinstance(found, ConjugateGradient):
            found = replace(found, max_iterations=self.solving.steps, must_converge=False)
        damping = curvature.damping_at(point, solver, self.reporter)
        solved = found.inverse(dict(self.gradient(point)), damping)
        residual = getattr(found, "residual", None)
        if residual is not None:
            self.residuals.append(residual)
        return solved

    # -- representations ----------------------------------------------------------------------------------------

    def representations(self, point: Point) -> Tensor:
        """Representations of the training examples at a point, (N, D) or (len(positions), D)."""
        return self.asked(self.loaded.index.representations(point.number))

    def test_representation(self, point: Point) -> Tensor:
        """Representations (Q, D) of the test examples at a point."""
        model = self.loaded.trajectory.model_at(point)
        with torch.no_grad(), RepresentationRecorder(model, self.loaded.head) as recorder:
            self.task.logits(model, self._test_batch().inputs)
        return recorder.take().cpu()

    def head_module(self, point: Point) -> nn.Module:
        """The layer that turns a representation into logits, at a point."""
        return self.loaded.trajectory.model_at(point).get_submodule(self.loaded.head)

    def labels(self) -> Tensor:
        """Class numbers of the training examples in question."""
        return self.asked(self.loaded.train_labels)

    def test_labels(self) -> Tensor:
        """True class numbers (Q,) of the test examples."""
        return self._test_batch().labels.cpu()

    def measurements_by_logit(self) -> Tensor:
        """Derivative of each measurement with respect to each logit of the final model, (Q, C)."""
        batch = self._test_batch()
        with torch.no_grad():
            logits = self.task.logits(self.loaded.trajectory.model_at(self.final), batch.inputs)
        value = row_by_row([target.measurement for target in self.targets])
        return logit_gradient(value, logits, batch.labels).cpu().double()

    # -- inside -------------------------------------------------------------------------------------------------

    def _test_batch(self) -> Batch:
        positions = [target.position for target in self.targets]
        return batch_of(self.task, "test", positions).to(self.loaded.device)

    def _capture(self, point: Point) -> GradientCapture:
        return GradientCapture(self.task, self.loaded.trajectory.model_at(point))

    def _fresh(self, point: Point, asked_of: Callable[[PerExampleGradients], Tensor], count: int) -> Tensor:
        """What ``asked_of`` (B, count) says of exact gradients, computed now: float64 (count, n)."""
        total = self.task.size("train")
        asked = list(range(total)) if self.positions is None else list(self.positions)
        place = torch.empty(total, dtype=torch.long)
        place[torch.as_tensor(asked)] = torch.arange(len(asked))
        answers = torch.empty(count, len(asked), dtype=torch.float64)
        stream = gradient_stream(
            self.task,
            self._capture(point),
            lambda positions: self.task.loss,
            positions=asked,
            batch_size=self.loaded.batch_size,
            device=self.loaded.device,
            reporter=self.reporter,
            message=f"Exact gradients at step {point.step}",
        )
        for positions, gradients in stream:
            answers[:, place[positions]] = asked_of(gradients).T.double().cpu()
        return answers


def as_gradients(vectors: Vectors) -> PerExampleGradients:
    """Vectors by block in the form of captured gradients."""
    count = len(next(iter(vectors.values())))
    blocks: dict[str, BlockGradient] = {name: DenseGradient(block) for name, block in vectors.items()}
    return PerExampleGradients(blocks, torch.zeros(count), torch.zeros(count, 1))
