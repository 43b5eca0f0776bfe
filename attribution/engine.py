"""`Engine`: a prepared project in memory, ready to explain and to fix."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from attribution import frozen
from attribution.batches import labels_of
from attribution.curvature.store import CurvatureStore
from attribution.devices import check_precision, resolve_device
from attribution.errors import MissingRequirementError, NumericalError, ProjectError, UsageError
from attribution.explanation import Explanation
from attribution.fixing import FixRequest, run_fix, suggested_edits
from attribution.index import GradientIndex
from attribution.measurements import measurement_for
from attribution.methods import Method, ProjectFacts, default_method, method_named
from attribution.preparation import gradient_batch_size
from attribution.progress import SILENT, Reporter
from attribution.projects import Edit, FixRecord, Project
from attribution.query import Query
from attribution.sources import load_task
from attribution.trajectory import Trajectory
from attribution.trust import trust_of

RERANKED = 100
"""Strongest examples, half of each sign, whose scores are computed again exactly where the index is compressed."""

_REMEMBERED = 64


class Engine:
    """Answers questions about one prepared project. Safe to share between threads: one question at a time.

    Args:
        project: a prepared project.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: only predictions and the index are affected; fresh gradients are always float32.

    Raises:
        ProjectError: not prepared, or damaged.
    """

    def __init__(self, project: Project, *, device: str = "auto", precision: str = "fp32") -> None:
        check_precision(precision)
        if not project.prepared:
            raise ProjectError(
                f"Project '{project.name}' is not prepared, or its model or data changed since: "
                f"run tracefix prepare {project.directory}."
            )
        self.project = project
        self.device = resolve_device(device)
        self.task = load_task(project)
        frozen.attach(self.task, project.prepared_directory / "frozen")
        self.facts = ProjectFacts.of(project)
        self._trajectory = Trajectory(self.task, self.device)
        self._index = GradientIndex(project.prepared_directory / "index", self.device)
        self._curvature = CurvatureStore(
            self.task,
            self._trajectory,
            project.prepared_directory / "curvature",
            self.device,
            gradient_batch_size(self.task),
        )
        self._labels = labels_of(self.task, "train")
        self._lock = threading.RLock()
        self._remembered: OrderedDict[tuple[str, str, str, bool], Explanation] = OrderedDict()

    def explain(
        self,
        test_id: str,
        *,
        method: str | None = None,
        measurement: str = "margin",
        use_index: bool = True,
        reporter: Reporter = SILENT,
    ) -> Explanation:
        """Score all training examples for a measurement of a test example.

        With ``use_index=False`` every score is computed from fresh gradients, which is exact and slow.

        Raises:
            NotFoundError: no such example, method or class.
            MissingRequirementError: the method needs something this project lacks.
            NumericalError: a score is NaN or infinite.
        """
        name = method or default_method(self.project)
        chosen = method_named(name)
        position = self.project.position("test", test_id)
        problem = chosen.missing(self.facts)
        if problem is not None:
            raise MissingRequirementError(f"The method '{name}' cannot run here. {problem}")
        key = (str(test_id), name, measurement, use_index)
        with self._lock:
            if key not in self._remembered or ".py:" in measurement:
                query = self._query(position, measurement, use_index, reporter)
                self._remembered[key] = self._explained(chosen, query, str(test_id), measurement)
                while len(self._remembered) > _REMEMBERED:
                    self._remembered.popitem(last=False)
            return self._remembered[key]

    def suggest(self, explanation: Explanation, *, strategy: str = "helpers", top: int = 10) -> list[Edit]:
        """The edits a strategy proposes for an explanation: the ``top`` training examples and what to do with each.

        Raises:
            NotFoundError: no such strategy.
        """
        return suggested_edits(self.project, explanation, strategy=strategy, top=top)

    def fix(
        self,
        test_id: str,
        *,
        strategy: str = "helpers",
        edits: Sequence[Edit] | None = None,
        train_ids: Sequence[str] | None = None,
        top: int = 10,
        method: str | None = None,
        measurement: str = "margin",
        steps: int = 50,
        seed: int = 0,
        reporter: Reporter = SILENT,
    ) -> FixRecord:
        """Fine-tune a copy of the model on chosen training examples until the test example is predicted right.

        ``edits`` say exactly what to do; else ``train_ids`` with the strategy's action; else the strategy's own
        suggestion from the explanation by ``method``. The result is not saved.

        Raises:
            NotFoundError: no such test or training example, strategy or method.
            UsageError: nothing to train on, the example is predicted right already, or the numbers make no sense.
            NumericalError: fine-tuning diverged.
        """
        if top < 1 or steps < 1:
            raise UsageError("--top and --steps must be at least 1.")
        position = self.project.position("test", test_id)
        name = method or default_method(self.project)
        with self._lock:
            if edits is None:
                explanation = self.explain(
                    test_id, method=name, measurement=measurement, reporter=reporter.share(0.0, 0.2)
                )
                edits = suggested_edits(
                    self.project, explanation, strategy=strategy, top=top, train_ids=train_ids
                )
            request = FixRequest(
                position=position,
                strategy=strategy,
                edits=list(edits),
                method=name,
                measurement=measurement,
                max_steps=steps,
                seed=seed,
            )
            return run_fix(
                self.project,
                self.task,
                self._trajectory.model_at(self._trajectory.final),
                self._representations(),
                request,
                device=self.device,
                batch_size=gradient_batch_size(self.task),
                reporter=reporter.share(0.2, 1.0),
            )

    # -- inside -------------------------------------------------------------------------------------------------

    def _query(self, position: int, measurement: str, use_index: bool, reporter: Reporter) -> Query:
        row = self.project.predictions("test").iloc[position]
        return Query(
            task=self.task,
            trajectory=self._trajectory,
            index=self._index,
            curvature=self._curvature,
            head=self.facts.head or "",
            position=position,
            measurement=measurement_for(
                measurement,
                class_names=self.task.class_names,
                true=int(row["label"]),
                predicted=int(row["predicted"]),
                loss=self.task.loss,
            ),
            train_labels=self._labels,
            device=self.device,
            batch_size=gradient_batch_size(self.task),
            use_index=use_index,
            reporter=reporter,
        )

    def _explained(self, method: Method, query: Query, test_id: str, measurement: str) -> Explanation:
        started = time.perf_counter()
        parts = method.parts(query)
        scores = method.scores(query) if parts is None else parts.sum(dim=0)
        query_seconds = time.perf_counter() - started
        exact = not method.compressible or not query.use_index or self._index.exact
        if not exact:
            best = strongest(scores, RERANKED)
            scores = scores.clone()
            scores[best] = method.scores(query.restricted(best.tolist()))
        if not bool(torch.isfinite(scores).all()):
            raise NumericalError(
                f"The method '{method.info.name}' gave scores that are not finite for example '{test_id}': "
                "try another method, or check the model for NaN weights."
            )
        trust = trust_of(method, query, scores, parts, exact=exact, representations=self._representations())
        return Explanation(
            project=self.project,
            example=self.project.example("test", test_id),
            method=method.info.name,
            measurement=measurement,
            measurement_words=query.measurement.words,
            scores=scores.to(torch.float32).numpy(),
            seconds={"query": query_seconds, "total": time.perf_counter() - started},
            trust=trust,
            representations=self._representations(),
        )

    def _representations(self) -> np.ndarray | None:
        if self.facts.head is None:
            return None
        return self._index.array(self._trajectory.final.number, "representations")


def strongest(scores: Tensor, count: int) -> Tensor:
    """Positions of the ``count`` strongest scores, half of each sign."""
    half = min(count // 2, len(scores))
    both_ends = torch.cat([scores.topk(half).indices, (-scores).topk(half).indices])
    return both_ends[torch.argsort(both_ends)] if half * 2 <= len(scores) else torch.arange(len(scores))
