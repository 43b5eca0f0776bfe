"""Held-out probabilities of labels: from fits without the example; they find planted errors and are stored once."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from attribution import Engine
from attribution.errors import Cancelled
from attribution.held_out import PENALTY, hold_out
from attribution.progress import SILENT, CancelToken, Reporter
from attribution.projects import Project
from attribution.projects.held_out import FOLDS, HELD_OUT, UNLIKELY, HeldOut, stored_held_out

CLASSES = 3


def clusters(size: int, flipped: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Representations around one centre for each class, labels of which some are wrong, and the right ones."""
    generator = np.random.default_rng(0)
    right = np.arange(size) % CLASSES
    inputs = 3 * np.eye(CLASSES, 4)[right] + generator.normal(size=(size, 4))
    labels = right.copy()
    wrong = generator.choice(size, flipped, replace=False)
    labels[wrong] = (labels[wrong] + 1) % CLASSES
    return inputs.astype(np.float32), labels, right


def test_planted_errors_look_mislabelled_and_get_their_label_back() -> None:
    inputs, labels, right = clusters(150, 15)
    found = hold_out(inputs, labels, CLASSES, SILENT)
    planted = labels != right
    assert found.mislabelled[planted].mean() > 0.6
    assert planted[found.mislabelled].mean() > 0.9
    assert (found.best[planted & found.mislabelled] == right[planted & found.mislabelled]).mean() > 0.9
    assert np.allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    assert (found.of_label[found.disbelieved] < UNLIKELY).all()


def test_an_example_has_no_say_about_its_own_label() -> None:
    inputs, labels, _ = clusters(60, 0)
    before = hold_out(inputs, labels, CLASSES, SILENT)
    other = labels.copy()
    other[:2] = other[[1, 0]]  # the folds are drawn by class: as many of each as before
    assert other[0] != labels[0]
    after = hold_out(inputs, other, CLASSES, SILENT)
    assert before.best[0] == after.best[0] == labels[0]
    assert after.mislabelled[:2].all() and not before.mislabelled[:2].any()


def test_without_disagreement_it_is_a_cross_validated_logistic_regression() -> None:
    """Against scikit-learn, whose objective is C times the summed loss plus half the squared norm."""
    inputs, labels, _ = clusters(60, 0)
    standard = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    found = hold_out(inputs, labels, CLASSES, SILENT)
    assert (found.best == labels).all()  # so nothing is left out of the second fit
    from attribution.held_out import _folds

    folds = _folds(labels)
    assert all((np.bincount(folds[labels == c], minlength=FOLDS) == 4).all() for c in range(CLASSES))
    with_ones = np.hstack([standard, np.ones((60, 1))])
    for fold in range(FOLDS):
        rest, inside = folds != fold, folds == fold
        peer = LogisticRegression(C=1 / (PENALTY * rest.sum()), fit_intercept=False, tol=1e-8, max_iter=1000)
        peer.fit(with_ones[rest], labels[rest])
        assert np.allclose(peer.predict_proba(with_ones[inside]), found.probabilities[inside], atol=1e-4)


def test_rare_classes_are_not_judged() -> None:
    inputs, labels, _ = clusters(60, 0)
    labels[0] = 3
    found = hold_out(inputs, labels, 4, SILENT)
    assert found.of_label[0] < UNLIKELY and not found.judged[0]
    assert not found.disbelieved[0] and not found.mislabelled[0]


def test_a_class_that_is_taken_for_another_keeps_its_examples() -> None:
    """Else the second fit would not know it, and all its labels would look wrong."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 4, generator=generator).numpy()
    labels = np.zeros(200, dtype=np.int64)
    labels[:10] = 1  # a rare class that nothing tells apart
    found = hold_out(inputs, labels, 2, SILENT)
    assert 0.01 < found.of_label[:10].mean() < 0.2
    few = HeldOut(found.probabilities, labels, found.judged)
    assert few.mislabelled.sum() <= 10


def test_cancelling_stops_between_fits() -> None:
    inputs, labels, _ = clusters(60, 6)
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        hold_out(inputs, labels, CLASSES, Reporter(None, token))


def test_it_is_prepared_stored_and_made_again_when_lost(own_digits: Project) -> None:
    project = own_digits
    first = project.held_out
    assert first is not None  # preparing makes it
    file = project.prepared_directory / "index" / HELD_OUT
    file.write_bytes(bytes(file.stat().st_size))
    fresh = Project.open(project.directory)
    assert fresh.held_out is None and fresh.prepared
    index = fresh.prepared_directory / "index"
    text = (index / "ledger.json").read_text()
    before = Engine(fresh, device="cpu")
    before._loaded.index.ledger.files.pop(HELD_OUT)
    before._loaded.index.ledger.write()  # as in a project from before it was stored
    assert (index / "ledger.json").read_text() != text
    engine = Engine(Project.open(project.directory), device="cpu")
    again = engine._run.held_out(SILENT)
    assert again is not None and np.array_equal(again.probabilities, first.probabilities)
    labels = project.predictions("train")["label"].to_numpy()
    stored = stored_held_out(index, labels)
    assert stored is not None and np.array_equal(stored.probabilities, first.probabilities)


def test_digits_errors_are_found_and_cards_say_so(prepared_digits: Project) -> None:
    held_out = prepared_digits.held_out
    assert held_out is not None
    original = prepared_digits.examples("train")["original_label"].to_numpy()
    planted = original != held_out.labels
    found = held_out.mislabelled
    assert planted[found].mean() > 0.95 and found[planted].mean() > 0.7
    assert (held_out.best[found] == original[found]).mean() > 0.95
    engine = Engine(prepared_digits, device="cpu")
    explanation = engine.explain(prepared_digits.mispredictions()[0]["id"])
    for card in explanation.culprits(20):
        assert card["suspected_label_error"] == found[card["position"]]
        assert card["held_out_probability"] == pytest.approx(held_out.of_label[card["position"]])
        best = prepared_digits.class_names[int(held_out.best[card["position"]])]
        assert card["suggested_label"] == (best if found[card["position"]] else None)


def test_a_copied_project_keeps_it(own_digits: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = shutil.copytree(own_digits.directory, tmp_path_factory.mktemp("copy") / "digits")
    assert Project.open(copy).held_out is not None
