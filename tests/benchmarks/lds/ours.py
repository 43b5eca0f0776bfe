"""Our methods on a run: the engine's own, asked without an index, each fitting all it needs from nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from attribution import Task
from attribution.batches import labels_of
from attribution.curvature import CurvatureStore
from attribution.measurements import Measurement
from attribution.methods import Method, method_named
from attribution.progress import SILENT
from attribution.projects.ledger import Ledger
from attribution.query import Loaded, Query, Target
from attribution.trajectory import Trajectory

from .activations import Activations
from .queries import Queries

BATCH_SIZE = 1024
"""Wide products with many queries are fastest in large batches."""


@dataclass(frozen=True)
class Asked:
    """A registered method and how it is asked.

    Args:
        method: makes it.
        refine: whether the exact curvature is inverted, by conjugate gradients.
        every_checkpoint: whether ``path`` looks at all of them instead of its three.
        models: how many runs, from as many seeds, the scores are averaged over.
    """

    title: str
    method: Callable[[], Method]
    refine: bool = False
    every_checkpoint: bool = False
    models: int = 1


def _named(name: str) -> Callable[[], Method]:
    return lambda: method_named(name)


def _source(segments: int) -> Callable[[], Method]:
    def make() -> Method:
        from attribution.methods.source import Source

        return Source(segments=segments)

    return make


OURS: dict[str, Asked] = {
    "random": Asked("random", _named("random")),
    "loss": Asked("loss", _named("loss")),
    "representation": Asked("representation", _named("representation")),
    "representer": Asked("representer", _named("representer")),
    "grad_dot": Asked("grad_dot", _named("grad_dot")),
    "grad_cos": Asked("grad_cos", _named("grad_cos")),
    "tracin_last_layer": Asked("tracin_last_layer, 6 checkpoints", _named("tracin_last_layer")),
    "tracin": Asked("tracin, 6 checkpoints", _named("tracin")),
    "datainf": Asked("datainf", _named("datainf")),
    "forward_inf": Asked("forward_inf", _named("forward_inf")),
    "trak_1": Asked("trak", _named("trak")),
    "arnoldi": Asked("arnoldi", _named("arnoldi")),
    "ekfac": Asked("ekfac", _named("ekfac")),
    "lissa": Asked("lissa", _named("lissa")),
    "exact": Asked("exact", _named("exact")),
    "cg": Asked("cg", _named("cg")),
    "fast_source": Asked("fast_source, L = 3", _named("fast_source")),
    "source_1": Asked("source, L = 1", _source(1)),
    "source_3": Asked("source, L = 3", _source(3)),
    "path": Asked("path, its 3 checkpoints", _named("path")),
    "path_6": Asked("path, all 6 checkpoints", _named("path"), every_checkpoint=True),
    "path_cg": Asked("path, 3 checkpoints, refined (CG)", _named("path"), refine=True),
    "path_6_cg": Asked(
        "path, 6 checkpoints, refined (CG)", _named("path"), refine=True, every_checkpoint=True
    ),
    "trak_5_runs": Asked("trak, 5 runs", _named("trak"), models=5),
    "ekfac_5_runs": Asked("ekfac, 5 runs", _named("ekfac"), models=5),
    "source_5_runs": Asked("source, L = 1, 5 runs", _source(1), models=5),
    "path_5_runs": Asked("path, 3 checkpoints, 5 runs", _named("path"), models=5),
    "path_cg_5_runs": Asked(
        "path, 3 checkpoints, refined (CG), 5 runs", _named("path"), refine=True, models=5
    ),
}

NOT_APPLICABLE = {"bm25", "turnover_dropout"}
"""Methods that need text, and a model that was trained for them."""

LARGEST_REFINED = 20_000
"""Parameters of a model up to which the slower methods are asked here."""

SLOW = {"lissa", "exact", "cg", "path_cg", "path_6_cg"} | {
    name for name, asked in OURS.items() if asked.models > 1
}


def methods_for(parameters: int) -> list[str]:
    """The methods that are asked about a model of that many parameters."""
    return [name for name in OURS if parameters <= LARGEST_REFINED or name not in SLOW]


def scores(name: str, tasks: Sequence[Task], queries: Queries) -> Tensor:
    """Scores (N, Q), positive where training on the example pushed the measurement up.

    Args:
        tasks: the runs, the explained one first; ensembles take more than that.
    """
    asked = OURS[name]
    method = asked.method()
    with ExitStack() as stack:
        asking = []
        for task in tasks[: asked.models]:
            loaded = stack.enter_context(loaded_for(task, every_checkpoint=asked.every_checkpoint))
            method.fit(loaded, SILENT)
            asking.append(Query(loaded, targets_of(queries), use_index=False, refine=asked.refine))
        return method.averaged(asking).T


@contextmanager
def loaded_for(task: Task, *, every_checkpoint: bool = False) -> Iterator[Loaded]:
    """The task as the engine has it in memory, nothing fitted yet; what is fitted is forgotten afterwards."""
    trajectory = Trajectory(task)
    if every_checkpoint:
        trajectory.traced = trajectory.checkpoint_points
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder), {}, {})
        activations = Activations(task, trajectory, ledger, BATCH_SIZE)
        yield Loaded(
            task=task,
            trajectory=trajectory,
            index=cast(Any, activations),
            curvature=CurvatureStore(task, trajectory, ledger, "cpu", BATCH_SIZE),
            head=activations.head,
            train_labels=labels_of(task, "train"),
            device="cpu",
            batch_size=BATCH_SIZE,
            texts=lambda split: [],
        )


def targets_of(queries: Queries) -> list[Target]:
    """The queries as the engine asks them."""
    targets = []
    for row, position in enumerate(queries.positions):
        one = Queries(
            [position], queries.true[row : row + 1], queries.predicted[row : row + 1], queries.measurement
        )
        targets.append(Target(position, Measurement(queries.measurement, one.value, queries.measurement)))
    return targets
