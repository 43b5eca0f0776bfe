"""What an example is to a model, as a vector: its representation, or the direction of its gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from attribution.capture import GradientCapture, gradient_stream
from attribution.errors import MissingRequirementError
from attribution.measurements import measurement_for, row_by_row
from attribution.progress import Reporter

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.maps.example_map import Space
    from attribution.runs import Run

Vectors = NDArray[np.float32]


class ExampleVectors(Protocol):
    """Vectors of D numbers of all examples of a project."""

    def train(self) -> Iterator[Vectors]:
        """Of all training examples, in order, some rows (n, D) at a time, each valid until the next."""

    def test(self, positions: Sequence[int], reporter: Reporter) -> Vectors:
        """Of test examples (len(positions), D)."""


class Representations:
    """What the last layer of the final model reads.

    Raises:
        MissingRequirementError: the model has no such layer.
    """

    def __init__(self, run: Run) -> None:
        stored = run.representations()
        file = run.project.prepared_directory / "test_representations.npy"
        if stored is None or not file.exists():
            problem = run.facts.head_problem or "The model has no last layer that reads a representation."
            raise MissingRequirementError(f"There is no map of representations: use gradients. {problem}")
        self._train = stored
        self._test: Vectors = np.load(file, mmap_mode="r", allow_pickle=False)

    def train(self) -> Iterator[Vectors]:
        yield self._train

    def test(self, positions: Sequence[int], reporter: Reporter) -> Vectors:
        return np.asarray(self._test[list(positions)], dtype=np.float32)


class Gradients:
    """Directions of gradients at the final model, in the metric of the influence function: their cosines are those of
    (H + λI)⁻¹.

    A training example is the direction of the gradient of its loss, a test example that of *minus* the gradient of its
    margin. Where they agree the influence -(1/N) ∇fᵀ (H + λI)⁻¹ ∇ℓ_i is positive: a misprediction lies towards its
    culprits, and its helpers lie the other way. Lengths are left out: a few examples with huge gradients, mostly those
    whose labels are wrong, would otherwise be the whole picture.

    Args:
        run: whose model it is.
        lock: held while the model is in use.
    """

    def __init__(self, run: Run, lock: AbstractContextManager[Any]) -> None:
        self._project = run.project
        self._loaded = run.loaded
        self._lock = lock
        self._point = self._loaded.trajectory.final

    def train(self) -> Iterator[Vectors]:
        for rows in self._loaded.index.unit_gradients(self._point.number):
            yield rows.cpu().numpy()

    def test(self, positions: Sequence[int], reporter: Reporter) -> Vectors:
        task, loaded = self._loaded.task, self._loaded
        coordinates = loaded.index.coordinates(self._point.number)
        table = self._project.predictions("test")
        labels, predicted = table["label"].to_numpy(), table["predicted"].to_numpy()
        with self._lock:
            capture = GradientCapture(task, loaded.trajectory.model_at(self._point))
        found = np.empty((len(positions), coordinates.width), dtype=np.float32)
        place = {int(position): row for row, position in enumerate(positions)}
        stream = gradient_stream(
            task,
            capture,
            lambda batch: row_by_row(
                [
                    measurement_for(
                        "margin",
                        class_names=task.class_names,
                        true=int(labels[position]),
                        predicted=int(predicted[position]),
                        loss=task.loss,
                    )
                    for position in batch.tolist()
                ]
            ),
            split="test",
            positions=positions,
            batch_size=loaded.batch_size,
            device=loaded.device,
            reporter=reporter,
            message=f"Gradients of {len(positions):,} test examples",
        )
        while True:
            with self._lock:  # between two batches, explanations of others have their turn
                batch = next(stream, None)
                if batch is None:
                    return found
                rows = -coordinates.rows(batch[1])
            found[[place[position] for position in batch[0].tolist()]] = _unit(rows).cpu().numpy()


def _unit(rows: Tensor) -> Tensor:
    unit: Tensor = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(1e-30)
    return unit


def vectors_of(run: Run, space: Space, lock: AbstractContextManager[Any]) -> ExampleVectors:
    """The vectors of a space, of a run whose model is used under the lock alone.

    Raises:
        MissingRequirementError: the model has none.
    """
    return Representations(run) if space == "representation" else Gradients(run, lock)
