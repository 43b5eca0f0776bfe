"""The trust line: signals that planted situations must show."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from attribution import Engine
from attribution.projects import Edit, Project
from attribution.projects.lds_record import FILE
from attribution.trust import UNUSUAL, _familiarity
from dashboard.trust_line import meanings
from dashboard.views.measurements import effect_sentence


def test_an_example_unlike_the_training_data_is_told_from_a_usual_one() -> None:
    generator = np.random.default_rng(0)
    centre = np.zeros(16)
    centre[0] = 6.0
    representations = (centre + generator.normal(size=(300, 16))).astype(np.float32)
    usual = torch.tensor((centre + generator.normal(size=16)).astype(np.float32))[None]
    unlike = torch.tensor(-centre, dtype=torch.float32)[None]
    assert _familiarity(unlike, representations) == 0.0
    share = _familiarity(usual, representations)
    assert share is not None and share > UNUSUAL
    assert _familiarity(torch.cat([usual, unlike]), representations) == 0.0, "the least of several counts"
    # Of the training examples themselves half are as far as the median one or farther.
    others = (centre + generator.normal(size=(200, 1, 16))).astype(np.float32)
    shares = [_familiarity(torch.from_numpy(other), representations) for other in others]
    assert 0.3 < np.mean(shares) < 0.7  # type: ignore[arg-type]
    assert _familiarity(None, representations) is None and _familiarity(usual, representations[:5]) is None


def test_a_study_of_the_project_is_quoted(own_digits: Project) -> None:
    engine = Engine(own_digits, device="cpu")
    wrong = own_digits.mispredictions()[0]["id"]
    before = engine.explain(wrong, method="grad_dot")
    assert before.trust["lds"] is None and "not measured yet" in before.trust["sentence"]
    file = own_digits.directory / FILE
    file.parent.mkdir(exist_ok=True)
    measured = {"grad_dot": {"lds": 0.36, "standard_error": 0.03, "seconds": 1.0}}
    file.write_text(json.dumps({"methods": measured, "subsets": 100, "seeds": 10}))
    engine = Engine(own_digits, device="cpu")
    after = engine.explain(wrong, method="grad_dot")
    assert after.trust["lds"] == 0.36 and "LDS 0.36 ± 0.03" in after.trust["sentence"]
    assert engine.explain(wrong, method="tracin").trust["lds"] is None
    named = {name: value for name, value, _ in meanings(after)}
    assert named["Fidelity against retraining (LDS)"] == "0.36" and 0 <= after.trust["familiarity"] <= 1


def test_the_predicted_effect_is_minus_the_sum_of_the_removed() -> None:
    edits = [
        Edit(train_id="a", action="remove"),
        Edit(train_id="b", action="relabel", label="x"),
        Edit(train_id="c", action="upweight"),
    ]
    scores = {"a": 0.5, "b": 0.25, "c": -3.0}
    said = effect_sentence(edits, scores, "ekfac", "margin")
    assert said is not None and "removing these 2 should move the margin by about -0.75 nats" in said
    assert effect_sentence(edits[2:], scores, "ekfac", "margin") is None
    assert effect_sentence(edits, scores, "grad_cos", "margin") is None, "scores without a size"


@pytest.mark.parametrize("method", ["path", "representation"])
def test_every_signal_has_a_meaning(prepared_digits: Project, method: str) -> None:
    explanation = Engine(prepared_digits, device="cpu").explain(
        prepared_digits.mispredictions()[1]["id"], method=method
    )
    assert all(name and value and meaning.endswith(".") for name, value, meaning in meanings(explanation))
