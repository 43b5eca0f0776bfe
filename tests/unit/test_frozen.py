"""Skipping frozen layers changes nothing but the time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import pad

from attribution import Checkpoint, Engine, Task
from attribution.batches import batch_of
from attribution.frozen import build, skippable
from attribution.progress import SILENT
from tests.unit.built_projects import engine_of
from tests.unit.tiny_models import TextModel, labels, settled, small_bert, task_of, texts


def partly_trained(trained: tuple[str, ...]) -> Task:
    """A four-layer BERT of which only parameters with these prefixes were trained, with one earlier checkpoint."""
    torch.manual_seed(0)
    model = settled(small_bert(layers=4))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(trained))
    earlier = {
        n: p.detach() + 0.05 * torch.randn_like(p) for n, p in model.named_parameters() if p.requires_grad
    }
    checkpoints = [Checkpoint(earlier, learning_rate=0.1, step=1)]
    return task_of(model, texts(40), labels(40), checkpoints=checkpoints, learning_rate=0.1)


LAST_TWO = ("bert.encoder.layer.2", "bert.encoder.layer.3", "bert.pooler", "classifier")


def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Engine, Engine]:
    """The same project with and without skipping."""
    skipping = engine_of(tmp_path / "skipping", lambda: partly_trained(LAST_TWO))
    monkeypatch.setattr("attribution.frozen.LARGEST", 0)
    return skipping, engine_of(tmp_path / "plain", lambda: partly_trained(LAST_TWO))


def test_scores_and_fixes_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skipping, plain = engines(tmp_path, monkeypatch)
    assert skipping.task.frozen is not None and plain.task.frozen is None
    assert skipping.task.frozen.skipped == ["bert.encoder.layer.0", "bert.encoder.layer.1"]
    wrong = plain.project.mispredictions()[0]["id"]
    for method in ("grad_dot", "tracin", "tracin_last_layer", "representation"):
        for use_index in (True, False):
            first = skipping.explain(wrong, method=method, use_index=use_index).scores
            second = plain.explain(wrong, method=method, use_index=use_index).scores
            assert np.allclose(first, second, rtol=1e-4, atol=1e-5 * np.abs(second).max()), method
    first_fix, second_fix = (engine.fix(wrong, top=5) for engine in (skipping, plain))
    assert first_fix.steps == second_fix.steps and first_fix.newly_broken == second_fix.newly_broken
    for name, chance in first_fix.after.probabilities.items():
        assert chance == pytest.approx(second_fix.after.probabilities[name], abs=1e-4)


@pytest.mark.parametrize("side", ["right", "left"])
def test_texts_that_come_padded_give_the_same_logits(tmp_path: Path, side: str) -> None:
    task = partly_trained(LAST_TWO)
    for text in task.train.inputs:
        room = 12 - len(text["input_ids"])
        text |= {name: pad(row, (0, room) if side == "right" else (room, 0)) for name, row in text.items()}
    expected = task.logits(task.model, batch_of(task, "train", range(40)).inputs)
    build(task, task.model, tmp_path, device="cpu", batch_size=8, reporter=SILENT)
    assert task.frozen is not None
    found = [task.logits(task.model, batch_of(task, "train", [position]).inputs) for position in range(40)]
    torch.testing.assert_close(torch.cat(found), expected)


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", lambda: partly_trained(LAST_TWO))
    engine.explain(engine.project.mispredictions()[0]["id"])
    model = engine._loaded.trajectory.model_at(engine._loaded.trajectory.final)
    assert not any("forward" in module.__dict__ for module in model.modules())


@pytest.mark.parametrize(
    "trained",
    [("bert",), ("bert.embeddings", "classifier"), ("bert.encoder.layer.0", "classifier")],
)
def test_nothing_is_skipped_that_depends_on_what_was_trained(trained: tuple[str, ...]) -> None:
    task = partly_trained(trained)
    assert skippable(task, task.model, "cpu") == []


def test_nothing_is_skipped_where_a_checkpoint_has_other_frozen_values() -> None:
    task = partly_trained(LAST_TWO)
    assert len(skippable(task, task.model, "cpu")) == 2
    task.checkpoints = [Checkpoint({n: t + 1 for n, t in task.model.state_dict().items()}, 0.1, 1)]
    assert skippable(task, task.model, "cpu") == []


def test_models_without_a_frozen_stack_are_left_alone() -> None:
    task = task_of(settled(TextModel()), texts(10), labels(10))
    assert skippable(task, task.model, "cpu") == []
    linear = task_of(nn.Linear(3, 3), torch.randn(10, 3), labels(10))
    assert skippable(linear, linear.model, "cpu") == []
