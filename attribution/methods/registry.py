"""The registry of methods, and what a method is."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from attribution.errors import NotFoundError, ProjectError

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.curvature.store import Solver
    from attribution.progress import Reporter
    from attribution.projects import Project
    from attribution.query import Loaded, Query
    from attribution.trajectory import Point


FAMILIES = {
    "influence": "Influence functions",
    "run": "Along the training run",
    "other": "Gradients and projections",
    "baseline": "Similarity and baselines",
}
"""Kinds of methods in the order they are listed for people: name -> title."""


@dataclass(frozen=True)
class MethodInfo:
    """What a person needs to know to choose a method.

    Args:
        name: as written on the command line.
        title: as shown.
        citation: the paper.
        needs: what a project must have, in words ("checkpoints").
        cost: of one query, in words.
        calibrated: whether the scale of the scores means something (a change of the measurement, or a part of
            one), or only their rank.
        one_line: what it does, in one sentence.
        family: its kind, one of `FAMILIES`.
    """

    name: str
    title: str
    citation: str
    needs: list[str]
    cost: str
    calibrated: bool
    one_line: str
    family: Literal["influence", "run", "other", "baseline"] = "other"

    def contract(self) -> dict[str, Any]:
        """The shape that ``tracefix methods --json`` prints."""
        shown = ("name", "title", "citation", "needs", "cost")
        return {name: value for name, value in asdict(self).items() if name in shown}


@dataclass(frozen=True)
class ProjectFacts:
    """What `prepare` found in a project; decides which methods can run.

    ``final``, ``followed``, ``traced`` and ``segment_means`` are numbers of points (`attribution.trajectory`).
    """

    parameters: int
    n_train: int
    kind: str
    checkpoints: int
    learning_rates: tuple[float, ...]
    final: int
    followed: tuple[int, ...]
    traced: tuple[int, ...]
    segment_means: tuple[int, ...]
    optimizer: str
    head: str | None
    head_is_linear: bool
    head_problem: str = ""
    turnover: bool = False
    models: int = 1
    """Trained models, the one explained included."""
    measurements: dict[str, str] = field(default_factory=dict)
    """What the task names beside margin, loss and logits: name -> what it is, in one line or empty."""
    second_moments: bool = False
    """Whether every checkpoint that methods follow has Adam's second moments."""

    @classmethod
    def of(cls, project: Project) -> ProjectFacts:
        """The facts recorded at preparation.

        Raises:
            ProjectError: the project is not prepared.
        """
        try:
            facts = dict(project.preparation["facts"])
            for name in ("learning_rates", "followed", "traced", "segment_means"):
                facts[name] = tuple(facts[name])
            return cls(**facts)
        except (KeyError, TypeError) as error:
            raise ProjectError(
                f"Project '{project.name}' was prepared by another version: run tracefix prepare {project.directory}."
            ) from error


@dataclass(frozen=True)
class Direction:
    """``factor`` times vectors by block (Q, *shape), to be multiplied with the training gradients at a point.

    The factor is one number, or one of each measurement: (Q, 1).
    """

    point: Point
    vectors: Mapping[str, Tensor]
    factor: float | Tensor


class Method(ABC):
    """A way to score training examples.

    A score is positive where training on the example pushed the measurement up: with the default measurement of
    a misprediction, towards the wrong class (culprit).
    """

    info: MethodInfo
    along_the_run = False
    """Whether it looks at the checkpoints of the run, rather than at the final model."""
    estimates_retraining = False
    """Whether minus a score estimates by how much retraining without the example changes the measurement: the whole
    of the change, where ``calibrated`` may also mean a part of it."""
    from_gradients = True
    """Whether its scores come from the gradients in the index (of which the strongest are then computed exactly)."""

    def missing(self, facts: ProjectFacts) -> str | None:
        """The sentence that says why this method cannot run on a project, or None."""
        if not self.along_the_run:
            return None
        if not facts.checkpoints:
            return (
                "It needs checkpoints of the training run, and this project has none: add them with "
                "tracefix new --checkpoints or Task(checkpoints=...)."
            )
        if not any(rate > 0 for rate in facts.learning_rates):
            return (
                "Every checkpoint of this project has a learning rate of zero: give the step size that was in force "
                "at each checkpoint."
            )
        return None

    def points(self, facts: ProjectFacts) -> list[int]:
        """Numbers of the points of the run that the index has to cover for this method."""
        return list(facts.followed) if self.along_the_run else [facts.final]

    def fit(self, loaded: Loaded, reporter: Reporter) -> None:  # noqa: B027
        """Compute and store what the queries of this method need beside the index; nothing by default.

        Called under the project's lock, once a session.
        """

    @abstractmethod
    def scores(self, query: Query) -> Tensor:
        """Scores (Q, N), or of ``query.positions`` (Q, n), in float64."""

    def averaged(self, queries: Sequence[Query]) -> Tensor:
        """Scores by an ensemble: the same question asked of several models, (Q, N) or (Q, n) in float64."""
        import torch

        return torch.stack([self.scores(query) for query in queries]).mean(dim=0)


class SummedMethod(Method):
    """A method whose scores add up over points of the run."""

    @abstractmethod
    def parts(self, query: Query) -> Tensor:
        """Scores by point (points, Q, N) in float64."""

    def scores(self, query: Query) -> Tensor:
        return self.parts(query).sum(dim=0)


class DirectionalMethod(SummedMethod):
    """A method that is linear in the training gradients: score_i = Σ_p factor_p · v_p · g_i(θ_p)."""

    @abstractmethod
    def directions(self, query: Query) -> list[Direction]:
        """The points p and the vectors v_p."""

    def parts(self, query: Query) -> Tensor:
        import torch

        return torch.stack([d.factor * query.dots(d.point, d.vectors) for d in self.directions(query)])


class InfluenceFunction(DirectionalMethod):
    """score_i = -(1/N) g_fᵀ (H + λI)⁻¹ g_i at the final model (Koh & Liang 2017), H⁻¹ by ``solver``.

    Giving example i the extra weight ε moves the optimum of the training objective by -(ε/N) H⁻¹ g_i and so the
    measurement by -(ε/N) g_fᵀ H⁻¹ g_i: taking the example out (ε = -1) changes it by minus the score. The damping
    λ is chosen from the training record (`attribution.curvature.damping`).
    """

    solver: Solver
    estimates_retraining = True

    def directions(self, query: Query) -> list[Direction]:
        solved = query.preconditioned(query.final, self.solver)
        return [Direction(query.final, solved, -1 / query.task.size("train"))]


_REGISTRY: dict[str, Method] = {}

AnyMethod = TypeVar("AnyMethod", bound=type[Method])


def register(kind: AnyMethod) -> AnyMethod:
    """Class decorator: make a method available under its name."""
    method = kind()
    if method.info.name in _REGISTRY:
        raise ValueError(f"two methods are called {method.info.name}")
    _REGISTRY[method.info.name] = method
    return kind


@cache
def _load_all() -> None:
    import attribution.methods as package

    for module in pkgutil.iter_modules(package.__path__):
        if module.name != "registry":
            importlib.import_module(f"{package.__name__}.{module.name}")


def _methods() -> dict[str, Method]:
    _load_all()
    return _REGISTRY


def list_methods() -> list[MethodInfo]:
    """All methods, those that need the least first."""
    return [m.info for m in sorted(_methods().values(), key=lambda m: (len(m.info.needs), m.info.name))]


def families() -> dict[str, list[MethodInfo]]:
    """All methods by the title of their family, those that need the least first in each."""
    infos = list_methods()
    return {title: [i for i in infos if i.family == name] for name, title in FAMILIES.items()}


def method_named(name: str) -> Method:
    """A method by name.

    Raises:
        NotFoundError: no such method, with the nearest names.
    """
    methods = _methods()
    if name not in methods:
        near = difflib.get_close_matches(name, methods, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise NotFoundError(
            f"There is no method '{name}': {hint}the methods are {', '.join(sorted(methods))}."
        )
    return methods[name]


def availability(project: Project) -> dict[str, str | None]:
    """For each method None where it can run on this project, else the sentence that says what is missing."""
    facts = ProjectFacts.of(project)
    return {info.name: method_named(info.name).missing(facts) for info in list_methods()}


def default_method(facts: ProjectFacts) -> str:
    """The method used when none is named: path where checkpoints exist, else ekfac."""
    return "path" if method_named("path").missing(facts) is None else "ekfac"
