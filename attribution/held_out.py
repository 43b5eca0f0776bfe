"""How probable each training label is for a model that was not shown it.

The last layer is fitted again on the stored representations, five times, each time without a fifth of the training
examples, and asked about those (cross-validation; Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in
Dataset Labels", find label errors by such out-of-sample probabilities). As they do, those that it takes for another
class are then left out, and everything is fitted once more, so that wrong labels cannot vouch for one another.

What comes before the last layer has seen all labels. A network that learned them by heart gives representations that
believe them: fewer errors are found then, but what is found stays right (on digits with 20 % of the labels wrong,
learned to a training accuracy of 100 %: 3 % of them are found, and all that look wrong are wrong; the trained model
itself disagrees with none). That is why the penalty is strong.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attribution.index import GradientIndex
from attribution.linear_head import fit_head, with_ones
from attribution.progress import Reporter
from attribution.projects.files import replacing
from attribution.projects.held_out import FOLDS, HELD_OUT, HeldOut, judged_labels

PENALTY = 0.03
"""λ of ½λ‖W‖², on representations of variance 1. Between 0.003 and 0.1 label errors of well-trained models are found
alike (area under the curve 0.994 to 0.999 on digits); of models that know their labels by heart, better with more."""

MOST = 20_000
"""Examples at most that the layer is fitted to."""

_SEED = 0


def hold_out(
    representations: NDArray[np.float32], labels: NDArray[np.int64], classes: int, reporter: Reporter
) -> HeldOut:
    """Probabilities of the classes by last layers that were fitted without the example in question.

    Args:
        representations: what the last layer reads, (N, D).
        labels: class numbers (N,).
        classes: number C of classes.

    Raises:
        NumericalError: a fit did not converge.
        Cancelled: the user asked for a stop.
    """
    judged = judged_labels(labels, classes)
    inputs = with_ones(_standardized(torch.from_numpy(np.asarray(representations, dtype=np.float64))))
    folds = _folds(labels)
    everyone = np.ones(len(labels), dtype=bool)
    first = _held_out(inputs, labels, classes, folds, everyone, reporter.share(0.0, 0.5))
    agreed = _kept(first.argmax(axis=1) == labels, labels, classes)
    second = _held_out(inputs, labels, classes, folds, agreed, reporter.share(0.5, 1.0))
    return HeldOut(second.astype(np.float32), labels, judged)


def store_held_out(
    index: GradientIndex, point: int, labels: NDArray[np.int64], classes: int, reporter: Reporter
) -> None:
    """Compute it from the representations that the index has of a point, and store it there, unless that was done.

    The caller holds the project's lock.

    Raises:
        As `hold_out`; ProjectError: the folder cannot be written.
    """
    ledger = index.ledger
    if HELD_OUT in ledger.files:
        return
    found = hold_out(index.representations(point).numpy(), labels, classes, reporter)
    with replacing(ledger.directory / HELD_OUT) as temporary, temporary.open("wb") as file:
        np.save(file, found.probabilities)
    ledger.add(HELD_OUT)


def _standardized(inputs: Tensor) -> Tensor:
    deviation, mean = torch.std_mean(inputs, dim=0, correction=0)
    return (inputs - mean) / torch.where(deviation > 0, deviation, 1.0)


def _folds(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The fold of each example (N,): at random, each class spread over all of them."""
    order = np.random.default_rng(_SEED).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % FOLDS
    return folds


def _kept(agreed: NDArray[np.bool_], labels: NDArray[np.int64], classes: int) -> NDArray[np.bool_]:
    """Whether each example goes into the second fit: a class that would lose more than half of its own keeps all."""
    of_class = np.bincount(labels, minlength=classes)
    left = np.bincount(labels[agreed], minlength=classes)
    kept: NDArray[np.bool_] = agreed | (2 * left < of_class)[labels]
    return kept


def _held_out(
    inputs: Tensor,
    labels: NDArray[np.int64],
    classes: int,
    folds: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    reporter: Reporter,
) -> NDArray[np.float64]:
    chances = np.full((len(labels), classes), 1 / classes)
    targets = torch.tensor(labels)
    generator = np.random.default_rng(_SEED)
    for fold in range(FOLDS):
        reporter(fold / FOLDS, "Asking about each training label a last layer that was not shown it")
        inside = np.flatnonzero(folds == fold)
        rest = np.flatnonzero((folds != fold) & allowed)
        if not len(inside) or not len(rest):
            continue
        rest = np.sort(generator.permutation(rest)[:MOST])
        head = fit_head(inputs[rest], targets[rest], classes, _cross_entropy, PENALTY)
        chances[inside] = torch.softmax(inputs[inside] @ head.T, dim=1).numpy()
    return chances


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,), whatever loss the model was trained with: probabilities are asked for."""
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")
