"""Clusters of mispredictions: what is in one has common culprits, and names say what it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch

from attribution import Engine
from attribution.error_clusters import DAMPING, WordCounts, error_clusters, profile_cosines
from attribution.projects import Project


@pytest.fixture(scope="module")
def engine(prepared_digits: Project) -> Engine:
    return Engine(prepared_digits, device="cpu")


def test_clusters_hold_mispredictions_once_and_say_what_they_are(engine: Engine) -> None:
    wrong = {row["id"]: row for row in engine.project.mispredictions()}
    order = list(wrong)
    clusters = error_clusters(engine.project)
    members = [test_id for cluster in clusters for test_id in cluster.test_ids]
    assert len(members) == len(set(members)) and set(members) <= set(wrong)
    sizes = [len(cluster.test_ids) for cluster in clusters]
    assert sizes == sorted(sizes, reverse=True) and min(sizes) >= 2
    for cluster in clusters:
        places = [order.index(test_id) for test_id in cluster.test_ids]
        assert places == sorted(places), "worst loss first"
        cells = [(wrong[test_id]["true"], wrong[test_id]["predicted"]) for test_id in cluster.test_ids]
        assert {(t, p): n for t, p, n in cluster.cells} == {cell: cells.count(cell) for cell in cells}
        assert cluster.cells[0][2] == max(count for _, _, count in cluster.cells)
        assert cluster.name.startswith(f"{cluster.cells[0][0]} → {cluster.cells[0][1]}") and not cluster.words
    assert [c.test_ids for c in error_clusters(engine.project)] == [c.test_ids for c in clusters]


def test_members_of_a_cluster_have_common_culprits(engine: Engine) -> None:
    """Far more than random groups of the same sizes: at least three times as many of the 20 strongest."""
    ids = [row["id"] for row in engine.project.mispredictions()]
    scores = engine.scores(ids)
    listed = [set(np.argsort(-row, kind="stable")[:20].tolist()) for row in scores]

    def shared(groups: Sequence[Sequence[int]]) -> float:
        pairs = [
            (len(group), np.mean([len(listed[a] & listed[b]) / 20 for a in group for b in group if a != b]))
            for group in groups
        ]
        return float(np.average([share for _, share in pairs], weights=[size for size, _ in pairs]))

    groups = [[ids.index(one) for one in cluster.test_ids] for cluster in error_clusters(engine.project)]
    random, chance = np.random.default_rng(0), []
    for _ in range(30):
        order = iter(random.permutation(len(ids)).tolist())
        chance.append(shared([[next(order) for _ in group] for group in groups]))
    assert shared(groups) > 3 * np.mean(chance)


def test_cosines_are_those_of_the_last_layers_gradients_of_the_margins(engine: Engine) -> None:
    """Oracle: autograd through a last layer that reads the stored representations, whitened beforehand."""
    project = engine.project
    wrong = [project.position("test", row["id"]) for row in project.mispredictions()[:6]]
    stored = np.load(project.prepared_directory / "test_representations.npy").astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(stored.T, bias=True))
    whitened = (stored - stored.mean(axis=0)) @ vectors / np.sqrt(values + DAMPING * values.mean())
    inputs = torch.from_numpy(whitened)[wrong]
    table = project.predictions("test").iloc[wrong]
    gradients = []
    for row, label, predicted in zip(inputs, table["label"], table["predicted"], strict=True):
        layer = torch.nn.Linear(inputs.shape[1], len(project.class_names), bias=False).double()
        chances = layer(row).log_softmax(dim=0)
        (gradient,) = torch.autograd.grad(chances[predicted] - chances[label], layer.weight)
        gradients.append(gradient.flatten())
    unit = torch.nn.functional.normalize(torch.stack(gradients), dim=1)
    np.testing.assert_allclose(profile_cosines(project, wrong), (unit @ unit.T).numpy(), atol=1e-5)


def test_nothing_is_joined_at_no_distance_and_everything_at_the_largest(engine: Engine) -> None:
    count = len(engine.project.mispredictions())
    assert error_clusters(engine.project, farthest=-1) == []
    (everything,) = error_clusters(engine.project, farthest=3)
    assert len(everything.test_ids) == count and "more" in everything.name


def test_without_representations_classes_alone_tell(own_digits: Project) -> None:
    (own_digits.prepared_directory / "test_representations.npy").unlink()
    wrong = {row["id"]: (row["true"], row["predicted"]) for row in own_digits.mispredictions()}
    together = {test_id: n for n, c in enumerate(error_clusters(own_digits)) for test_id in c.test_ids}
    cells = list(wrong.values())
    for test_id, cell in wrong.items():
        if cells.count(cell) > 1:
            assert {together[other] for other in wrong if wrong[other] == cell} == {together[test_id]}


def test_telling_words_are_common_here_and_rare_elsewhere() -> None:
    texts = pd.Series(
        {
            "a": "the acting was wooden, truly wooden",
            "b": "a wooden script and the lighting",
            "c": "the best lighting",
            "d": "the best of the year",
            "e": "the lighting, the lighting",
        }
        | {str(number): "nothing but the words" for number in range(25)}
    )
    counts = WordCounts(texts, ["a", "b", "c", "d", "e"])
    assert counts.telling(["a", "b"]) == ["wooden"]
    assert counts.telling(["c", "d"]) == ["best"]
    assert counts.telling(["c", "d", "e"]) == ["best", "lighting"], "rarer elsewhere first"
    assert counts.telling(["a", "e"]) == [], "all have the article"


def test_of_many_texts_some_say_how_common_a_word_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attribution.error_clusters.COUNTED", 100)
    texts = pd.Series(
        {str(n): "the usual words" + (" and lighting" if n % 5 == 0 else "") for n in range(2000)}
        | {"a": "wooden lighting", "b": "wooden lighting"}
    )
    assert WordCounts(texts, ["a", "b"]).telling(["a", "b"]) == ["wooden"], (
        "a fifth of all texts has lighting"
    )
