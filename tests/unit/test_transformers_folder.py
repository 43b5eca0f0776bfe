"""Tasks from transformers folders: what is loaded is what was saved, and nothing else of the process changes."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import nn
from transformers.utils import logging

from attribution import Task
from attribution.batches import batch_of
from attribution.errors import ProjectError
from attribution.projects import Manifest, Project, TransformersSource
from attribution.sources import load_task
from attribution.sources.text_data import TextDataset, TextDatasetBuilder
from tests.unit.tiny_models import WORDS, settled, small_bert, word_tokenizer

TEXTS = ["good film", "not very good", "bad", "very very bad film", "film"]


def saved(directory: Path, model: nn.Module) -> Project:
    """A project of the model, a tokenizer that knows a few words, and a table that is both splits."""
    model.save_pretrained(directory / "model")
    word_tokenizer().save_pretrained(directory / "model")
    pd.DataFrame({"text": TEXTS, "label": [0, 1, 2, 0, 1]}).to_csv(directory / "texts.csv", index=False)
    source = TransformersSource(model="model", train="texts.csv", test="texts.csv", text_column="text")
    return Project(directory, Manifest(name="texts", title="Texts", source=source))


def logits(task: Task) -> torch.Tensor:
    with torch.no_grad():
        return task.logits(task.model, batch_of(task, "train", range(len(TEXTS))).inputs)


def test_the_model_and_its_texts_come_back(tmp_path: Path) -> None:
    model = settled(small_bert())
    task = load_task(saved(tmp_path, model))
    ids = [[WORDS.index(word) for word in text.split()] for text in TEXTS]
    for position, row in enumerate(ids):
        inputs, label = task.train[position]
        assert inputs["input_ids"].tolist() == row
        assert inputs["attention_mask"].tolist() == [1] * len(row)
        assert label == [0, 1, 2, 0, 1][position]
    expected = [model(input_ids=torch.tensor([row])).logits for row in ids]
    torch.testing.assert_close(logits(task), torch.cat(expected).detach())


def test_a_model_stored_in_half_precision_is_computed_with_in_single(tmp_path: Path) -> None:
    half = settled(small_bert()).to(torch.bfloat16)
    task = load_task(saved(tmp_path, half))
    assert {parameter.dtype for parameter in task.model.parameters()} == {torch.float32}
    for name, parameter in task.model.named_parameters():
        assert torch.equal(parameter, half.get_parameter(name).float())


def test_a_model_without_a_trained_classifier_is_refused(tmp_path: Path) -> None:
    project = saved(tmp_path, settled(small_bert()).bert)
    with pytest.raises(ProjectError, match=r"no weights for 'classifier\.bias'.*fine-tuned as a classifier"):
        load_task(project)


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    project = saved(tmp_path, settled(small_bert()))
    (tmp_path / "texts.csv").write_text("text,label\n")
    with pytest.raises(ProjectError, match=r"texts\.csv' has no rows"):
        load_task(project)


@given(some.lists(some.lists(some.integers(0, 30_000), max_size=6), min_size=1, max_size=20))
def test_texts_of_any_length_come_back_as_they_were(rows: list[list[int]]) -> None:
    mask = [[1] * len(row) for row in rows]
    dataset = TextDataset({"input_ids": rows, "attention_mask": mask}, list(range(len(rows))))
    assert len(dataset) == len(rows)
    for position, row in enumerate(rows):
        inputs, label = dataset[position]
        assert inputs["input_ids"].tolist() == row and inputs["attention_mask"].tolist() == mask[position]
        assert label == position
    with pytest.raises(IndexError):
        dataset[len(rows)]


def test_the_garbage_collector_has_no_object_per_text_to_look_at() -> None:
    gc.collect()
    before = len(gc.get_objects())
    dataset = TextDataset({"input_ids": [[1, 2, 3] for _ in range(5000)]}, [0] * 5000)
    gc.collect()
    assert len(dataset) == 5000
    assert len(gc.get_objects()) - before < 500


@pytest.mark.parametrize("bars", [True, False])
def test_transformers_talks_as_before_afterwards(
    bars: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    project = saved(tmp_path, settled(small_bert()))
    before = logging.is_progress_bar_enabled()
    try:
        (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
        capfd.readouterr()
        load_task(project)
        assert capfd.readouterr() == ("", "")
        assert logging.is_progress_bar_enabled() == bars
    finally:
        (logging.enable_progress_bar if before else logging.disable_progress_bar)()


@pytest.mark.parametrize("held", [1, 3, 1000])
def test_token_numbers_come_back_from_a_temporary_file(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    """In memory or mapped from disk; a mask that is one number for long, and then is not."""
    monkeypatch.setattr("attribution.sources.text_data._IN_MEMORY", held)
    random = np.random.default_rng(0)
    lengths = random.integers(1, 5, 12).tolist()
    rows = [random.integers(0, 30_000, length).tolist() for length in lengths]
    masks = [[1] * length if place < 8 else [0] * length for place, length in enumerate(lengths)]
    types = [[0] * length for length in lengths]
    builder = TextDatasetBuilder()
    for start in range(0, 12, 4):
        part = slice(start, start + 4)
        builder.append(
            {"input_ids": rows[part], "attention_mask": masks[part], "token_type_ids": types[part]}
        )
    dataset = TextDataset.built(builder, range(12))
    assert dataset.lengths.tolist() == lengths
    for place, (inputs, label) in enumerate(dataset):
        assert label == place and all(tensor.dtype == torch.int64 for tensor in inputs.values())
        assert inputs["input_ids"].tolist() == rows[place]
        assert inputs["attention_mask"].tolist() == masks[place]
        assert inputs["token_type_ids"].tolist() == types[place]


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("attribution.sources.text_data._IN_MEMORY", 1)
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(
        ProjectError, match=r"cannot be kept in .* \(No space left on device\): free some space"
    ):
        TextDatasetBuilder().append({"input_ids": [[1, 2, 3]]})
