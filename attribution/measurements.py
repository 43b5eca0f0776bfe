"""Measurements: the scalar of a test example that an explanation explains.

A measurement is turned into a value function ``(logits (B, C), labels (B,)) -> (B,)`` before gradients are taken.
Larger means "more of it": a positive influence score pushed the measurement up.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from attribution.capture.capture import ValueFunction
from attribution.errors import NotFoundError, ProjectError, TracefixError, UsageError
from attribution.sources.python_function import describe, load_function
from attribution.task import LossFunction, MeasurementFunction

NAMES = ("margin", "loss", "logit:CLASS", "FILE.py:FUNCTION")


@dataclass(frozen=True)
class Measurement:
    """A named value function with its meaning in words."""

    name: str
    value: ValueFunction
    words: str


def measurement_for(
    name: str,
    *,
    class_names: Sequence[str],
    true: int,
    predicted: int,
    loss: LossFunction,
    own: Mapping[str, MeasurementFunction] | None = None,
    directory: Path | None = None,
) -> Measurement:
    """The measurement of that name for a test example with the given true and predicted class numbers.

    ``margin`` is log p(predicted) - log p(true) of a misprediction, and minus the log-odds of the true class of a
    correct prediction; ``loss`` is the training loss at the true label; ``logit:CLASS`` one logit;
    ``FILE.py:FUNCTION`` a user's ``f(logits (B, C), labels (B,)) -> (B,)``.

    Args:
        own: the measurements that the task names (`Task.measurements`).
        directory: where a relative FILE starts; the current directory if None.

    Raises:
        NotFoundError: no such class or function.
        UsageError: no such measurement.
    """
    own = own or {}
    if name in own:
        return Measurement(name, _checked(name, own[name]), f"the measurement '{name}'")
    if name == "margin":
        return _margin(class_names, true, predicted)
    if name == "loss":
        return Measurement(name, loss, f"the loss at the true label '{class_names[true]}'")
    if name.startswith("logit:"):
        wanted = name.removeprefix("logit:")
        if wanted not in class_names:
            raise NotFoundError(
                f"There is no class '{wanted}': the classes are {', '.join(class_names[:20])}."
            )
        number = list(class_names).index(wanted)
        return Measurement(name, lambda logits, labels: logits[:, number], f"the logit of '{wanted}'")
    if ".py:" in name:
        function = load_function(name, directory)
        return Measurement(name, _checked(name, function), f"the function {name.rsplit(':', 1)[1]}")
    known = [*NAMES[:-1], *(f"'{given}'" for given in own)]
    raise UsageError(f"There is no measurement '{name}': use {', '.join(known)} or {NAMES[-1]}.")


def one_line(function: MeasurementFunction) -> str:
    """The first line of a function's docstring; empty where there is none."""
    words = inspect.getdoc(function) if inspect.isroutine(function) else None
    return words.strip().split("\n", 1)[0] if words else ""


def _margin(class_names: Sequence[str], true: int, predicted: int) -> Measurement:
    if true != predicted:
        words = f"log p({class_names[predicted]}) - log p({class_names[true]})"
        return Measurement("margin", lambda logits, labels: logits[:, predicted] - logits[:, true], words)

    def negative_log_odds(logits: Tensor, labels: Tensor) -> Tensor:
        others = [column for column in range(logits.shape[1]) if column != true]
        # log p/(1-p) = z_true - logsumexp(others): no subtraction of nearly equal probabilities.
        return logits[:, others].logsumexp(dim=1) - logits[:, true]

    return Measurement("margin", negative_log_odds, f"minus the log-odds of '{class_names[true]}'")


def _checked(name: str, function: MeasurementFunction) -> ValueFunction:
    """A user's function that says in one sentence what is wrong with it."""
    try:
        accepted = len(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # not every built-in tells
        accepted = 2
    if accepted not in (1, 2):
        raise UsageError(f"The measurement {name} takes {accepted} arguments: write it as f(logits, labels).")

    def value(logits: Tensor, labels: Tensor) -> Tensor:
        try:
            result = function(logits) if accepted == 1 else function(logits, labels)
        except TracefixError:
            raise
        except Exception as error:
            raise ProjectError(
                f"The measurement {name} fails ({describe(error)}): mend the function and try again."
            ) from error
        if not isinstance(result, Tensor) or result.shape != labels.shape:
            raise UsageError(
                f"The measurement {name} must return one number per example, a tensor of shape (B,)."
            )
        if logits.requires_grad and not result.requires_grad:
            raise UsageError(
                f"The measurement {name} has no gradient: compute it from the logits with differentiable operations "
                "(no argmax, detach or item)."
            )
        return result

    return value


def row_by_row(measurements: Sequence[Measurement]) -> ValueFunction:
    """A value function for a batch in which row b has the measurement ``measurements[b]``."""

    def value(logits: Tensor, labels: Tensor) -> Tensor:
        rows = [m.value(logits[b : b + 1], labels[b : b + 1]) for b, m in enumerate(measurements)]
        return torch.cat(rows)

    return value


def logit_gradient(value: ValueFunction, logits: Tensor, labels: Tensor) -> Tensor:
    """Derivative of a value function with respect to the logits, shape (B, C)."""
    with torch.enable_grad():
        free = logits.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(value(free, labels).sum(), free)
    return gradient


def probabilities(logits: Tensor) -> Tensor:
    """Softmax in float64, shape (B, C): rows sum to 1 to 1e-12."""
    return functional.softmax(logits.double(), dim=1)
