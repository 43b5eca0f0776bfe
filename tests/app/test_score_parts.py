"""The parts of a score add up, and are named so that people find the layers and words they are of."""

from __future__ import annotations

from attribution.breakdown import Breakdown
from dashboard.views.score_parts import by_block, score_parts, short_names


def test_layers_are_summed_by_block() -> None:
    layers = {
        "bert.encoder.layer.4.attention.self.query": 1.0,
        "bert.encoder.layer.4.output.dense": 2.0,
        "bert.encoder.layer.5.output.dense": -4.0,
        "bert.pooler.dense": 0.5,
        "classifier": 0.25,
    }
    assert by_block(layers) == {
        "bert.encoder.layer.4": 3.0,
        "bert.encoder.layer.5": -4.0,
        "bert.pooler.dense": 0.5,
        "classifier": 0.25,
    }
    assert list(short_names(list(by_block(layers))).values()) == [
        "layer 4",
        "layer 5",
        "pooler.dense",
        "classifier",
    ]
    assert short_names(["a.layer.1", "b.layer.1"]) == {"a.layer.1": "a.layer.1", "b.layer.1": "b.layer.1"}


def test_what_is_said_adds_up() -> None:
    layers = {
        f"layers.{number}.weight": part for number, part in enumerate([8.0, -2.0, 1.0, 0.5, 0.25, 0.25])
    }
    found = Breakdown(8.0, layers, [1.0, 5.0, -0.5], [(0, 3, 1.0), (4, 7, 5.0), (8, 11, -0.5)])
    drawn = score_parts(found, "one <b> two")
    assert drawn["sentences"] == [
        "Of +8.00, +8.00 comes through “layers 0”; “layers 1” holds against it with −2.00.",
        "+5.50 of it arises at single words, most at “<b>” +5.00, “one” +1.00, “two” −0.500.",
    ]
    assert [row["name"] for row in drawn["layers"]] == [
        "layers 0",
        "layers 1",
        "layers 2",
        "layers 3",
        "2 others",
    ]
    assert [row["part"] for row in drawn["layers"]] == ["+8.00", "−2.00", "+1.00", "+0.500", "+0.500"]
    assert [row["strength"] for row in drawn["layers"]] == [1.0, -0.25, 0.125, 0.062, 0.062]


def test_one_layer_and_no_words() -> None:
    drawn = score_parts(Breakdown(-1.5, {"": -1.5}, None), "")
    assert drawn["sentences"] == ["All of −1.50 comes through “the model”, the only layer that was trained."]
