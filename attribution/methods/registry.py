"""The registry of methods, and what a method is."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from attribution.errors import NotFoundError, ProjectError

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.projects import Project
    from attribution.query import Query


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
    """

    name: str
    title: str
    citation: str
    needs: list[str]
    cost: str
    calibrated: bool
    one_line: str

    def contract(self) -> dict[str, Any]:
        """The shape that ``tracefix methods --json`` prints."""
        return asdict(self)


@dataclass(frozen=True)
class ProjectFacts:
    """What `prepare` found in a project; decides which methods can run."""

    checkpoints: int
    learning_rates: tuple[float, ...]
    optimizer: str
    head: str | None
    head_is_linear: bool
    head_problem: str = ""

    @classmethod
    def of(cls, project: Project) -> ProjectFacts:
        """The facts recorded at preparation.

        Raises:
            ProjectError: the project is not prepared.
        """
        try:
            facts = dict(project.preparation["facts"])
            facts["learning_rates"] = tuple(facts["learning_rates"])
            return cls(**facts)
        except (KeyError, TypeError) as error:
            raise ProjectError(
                f"Project '{project.name}' was prepared by another version: run tracefix prepare {project.directory}."
            ) from error


class Method(ABC):
    """A way to score training examples.

    A score is positive where training on the example pushed the measurement up: with the default measurement of
    a misprediction, towards the wrong class (culprit).
    """

    info: MethodInfo
    compressible = True
    """Whether its scores come from compressed gradients (and the best ones are then computed again exactly)."""

    def missing(self, facts: ProjectFacts) -> str | None:
        """The sentence that says why this method cannot run on a project, or None."""
        return None

    @abstractmethod
    def scores(self, query: Query) -> Tensor:
        """Scores (N,), or of ``query.positions``, in float64."""

    def parts(self, query: Query) -> Tensor | None:
        """Scores by point of the run (points, N), for methods that add them up; else None."""
        return None


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


def default_method(project: Project) -> str:
    """The method used when none is named: tracin where checkpoints exist, else grad_dot."""
    return "tracin" if availability(project)["tracin"] is None else "grad_dot"
