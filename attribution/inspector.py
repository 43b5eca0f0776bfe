"""`Inspector`: a prepared project in memory, ready to show its examples and what its model sees in them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

from attribution import frozen
from attribution.devices import resolve_device
from attribution.errors import ProjectError
from attribution.maps.build import example_map
from attribution.maps.example_map import ExampleMap, Projection, Space
from attribution.maps.vectors import vectors_of
from attribution.measurements import Measurement, measurement_for
from attribution.methods import ProjectFacts
from attribution.preparation import FROZEN
from attribution.progress import SILENT, Reporter
from attribution.projects import Project
from attribution.query import Loaded
from attribution.runs import own_run
from attribution.saliency import InputAttributor, Saliency
from attribution.sources import load_task

if TYPE_CHECKING:
    import pandas as pd


class Inspector:
    """Shows what one prepared project's model sees in its examples; no training example is scored for that.

    Args:
        project: a prepared project.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        ProjectError: not prepared, or damaged.
    """

    def __init__(self, project: Project, *, device: str = "auto") -> None:
        if not project.prepared:
            raise ProjectError(
                f"Project '{project.name}' is not prepared, or its model or data changed since: "
                f"run tracefix prepare {project.directory}."
            )
        self.project = project
        self.device = resolve_device(device)
        self.task = load_task(project)
        frozen.attach(self.task, project.prepared_directory / FROZEN)
        self.facts = ProjectFacts.of(project)
        self._run = own_run(project, self.task, self.device)
        self._attributor: InputAttributor | None = None
        self._lock = threading.RLock()
        self._making = threading.Lock()

    @property
    def _loaded(self) -> Loaded:
        return self._run.loaded

    def saliency(
        self,
        example_id: str,
        *,
        split: str = "test",
        measurement: str = "margin",
        measured_for: str | None = None,
        reporter: Reporter = SILENT,
    ) -> Saliency:
        """What the model looked at: the words, pixels or numbers of an example that moved a measurement.

        Other questions are answered meanwhile.

        Args:
            split: ``"test"`` or ``"train"``.
            measured_for: id of the test example whose measurement it is; of a training example it then says what in it
                speaks for and against what was predicted there. Without it, the example's own.

        Raises:
            NotFoundError: no such example or class.
            MissingRequirementError: inputs of this kind have no parts that could be shown.
            NumericalError: a value or gradient is NaN or infinite.
        """
        measured, label = self._measured(split, example_id, measurement, measured_for)
        return self._own_attributor().saliency(split, example_id, measured, label, reporter=reporter)

    def map(
        self, space: Space = "representation", projection: Projection = "pca", *, reporter: Reporter = SILENT
    ) -> ExampleMap:
        """All examples as points in a plane, made once and then read from the project.

        Others may ask questions meanwhile: the lock is held for one batch of test examples at a time.

        Raises:
            MissingRequirementError: the model has no representations, or UMAP is not installed.
            NumericalError: a gradient is NaN or infinite, or UMAP failed.
            ProjectError: the folder cannot be written.
            Cancelled: the user asked for a stop; nothing is stored.
        """
        return example_map(
            self.project, lambda: vectors_of(self._run, space, self._lock), space, projection, reporter
        )

    # -- inside -------------------------------------------------------------------------------------------------

    def _own_attributor(self) -> InputAttributor:
        with self._making:
            if self._attributor is None:
                self._attributor = InputAttributor(self.project, self.task, self.task.model, self.device)
            return self._attributor

    def _measurement(self, name: str, predicted: pd.Series) -> Measurement:
        """The measurement of that name of an example with these predictions."""
        return measurement_for(
            name,
            class_names=self.task.class_names,
            true=int(predicted["label"]),
            predicted=int(predicted["predicted"]),
            loss=self.task.loss,
            own=self.task.measurements,
        )

    def _measured(
        self,
        split: str,
        example_id: str,
        measurement: str,
        measured_for: str | None,
        predictions: pd.DataFrame | None = None,
    ) -> tuple[Measurement, int]:
        """The measurement of an example, or of the one it is ``measured_for``, and the class number it goes with.

        Args:
            predictions: of the test set, where the model is not the project's own.
        """
        whose = (split, example_id) if measured_for is None else ("test", measured_for)
        position = self.project.position(*whose)
        own = predictions is None or whose[0] == "train"
        row = (self.project.predictions(whose[0]) if own else cast("pd.DataFrame", predictions)).iloc[
            position
        ]
        return self._measurement(measurement, row), int(row["label"])
