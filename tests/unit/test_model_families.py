"""Every named model family, from its folder on disk to the exported fix, and its gradients against autograd."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from attribution import Project, Task
from attribution.batches import batch_of
from attribution.capture import GradientCapture
from attribution.errors import ProjectError
from attribution.frozen import build, skippable
from attribution.predictions import predict
from attribution.progress import SILENT
from attribution.projects import Manifest, TransformersSource
from attribution.representation import head_name
from attribution.sources import load_task
from tests.command_line import CommandLine
from tests.unit.model_families import FAMILIES, TRAIN, Family
from tests.unit.test_capture import largest_difference, oracle

Prepared = Callable[[str], Path]

GENERAL = {
    "deberta": {"pos_proj", "pos_q_proj", "rel_embeddings", "q_bias", "v_bias"},
    "deberta-v2": {"query_proj", "key_proj", "rel_embeddings", "LayerNorm"},
    "t5": {"relative_attention_bias", "shared.weight"},
    "bart": {"shared.weight", "embed_positions.weight"},
    "vit": {"cls_token", "position_embeddings"},
    "deit": {"cls_token", "distillation_token", "position_embeddings"},
    "convnext": {"layer_scale_parameter"},
    "swin": {"relative_position_bias_table"},
}
"""How the names end of what takes the general path, which is slower; nothing does in other families."""

WALKED = [name for name in FAMILIES if name != "mobilenet-v2"]
"""Families that go all the way. MobileNetV2 has 52 convolutions however small, and EfficientNet the same kinds."""

SKIPS = {"bert", "distilbert", "roberta", "xlm-roberta", "electra", "minilm", "gpt2", "qwen2", "bart"}
"""Families whose frozen first layer can be skipped."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """For a family's name the folder with its ``model``, ``train.csv`` and ``test.csv``, made once."""
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            FAMILIES[name].save(made[name] / "model")
            FAMILIES[name].tables(made[name])
        return made[name]

    yield of


def task_in(directory: Path, family: Family, trained: list[str] | None = None) -> Task:
    column = {f"{family.kind}_column": family.kind}
    source = TransformersSource(
        model="model", train="train.csv", test="test.csv", trained=trained or [], **column
    )
    return load_task(Project(directory, Manifest(name="family", title="Family", source=source)))


def gradients_alone(task: Task, split: str, positions: range) -> dict[str, Tensor]:
    """Gradients by autograd of examples that are each in a batch of its own, without any padding."""
    alone = [oracle(task, batch_of(task, split, [position])) for position in positions]
    return {name: torch.cat([one[name] for one in alone]) for name in alone[0]}


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_exact_and_do_not_depend_on_the_batch(name: str, folder: Callable[[str], Path]) -> None:
    task = task_in(folder(name), FAMILIES[name])
    some = range(7)
    batch = batch_of(task, "train", some)
    if FAMILIES[name].kind == "text":
        assert isinstance(batch.inputs, dict)
        lengths = batch.inputs["attention_mask"].sum(dim=1)
        assert lengths.min() < lengths.max()  # so that there is padding
    capture = GradientCapture(task, task.model)
    found = capture.by_parameter(capture.gradients(batch.inputs, batch.labels, task.loss))
    expected = gradients_alone(task, "train", some)
    assert set(found) == set(task.trained_parameters())
    assert largest_difference(found, expected) < 1e-5
    scale = max(float(tensor.abs().max()) for tensor in expected.values())
    for parameter, tensor in expected.items():
        own = float(tensor.abs().max())
        if own > 1e-5 * scale:  # that of a key's bias is 0 but for rounding
            assert float((found[parameter] - tensor).abs().max()) < 1e-4 * own, parameter
    slower = {*capture.fallback, *capture.general}
    assert all(any(one.endswith(end) for end in GENERAL.get(name, ())) for one in slower)
    assert all(any(one.endswith(end) for one in slower) for end in GENERAL.get(name, ()))


@pytest.mark.parametrize("name", FAMILIES)
def test_skipping_frozen_layers_is_right_or_not_done(
    name: str, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    family = FAMILIES[name]
    every = task_in(folder(name), family).trained_parameters()
    trained = [parameter for parameter in every if any(part in parameter for part in family.last)]
    assert trained and len(trained) < len(every)
    task = task_in(folder(name), family, trained)
    assert bool(skippable(task, task.model, "cpu")) == (name in SKIPS)
    some = range(7)
    plain = batch_of(task, "train", some)
    expected = gradients_alone(task, "train", some)
    build(task, task.model, tmp_path, device="cpu", batch_size=3, reporter=SILENT)
    assert (task.frozen is not None) == (name in SKIPS)
    batch = batch_of(task, "train", some)
    torch.testing.assert_close(task.logits(task.model, batch.inputs), task.logits(task.model, plain.inputs))
    capture = GradientCapture(task, task.model)
    found = capture.by_parameter(capture.gradients(batch.inputs, batch.labels, task.loss))
    assert set(found) == set(trained)
    assert largest_difference(found, expected) < 1e-5


def plainly_predicted(folder: Path, family: Family, inputs: list[str], where: Path) -> Tensor:
    """Probabilities (N, C) by transformers alone, as its documentation says."""
    if family.kind == "image":
        model = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True).eval()
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
        encoded = processor(images=[Image.open(where / name) for name in inputs], return_tensors="pt")
        with torch.no_grad():
            return model(**encoded).logits.softmax(dim=1)
    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    with torch.no_grad():
        rows = [model(**tokenizer(text, return_tensors="pt")).logits for text in inputs]
    return torch.cat(rows).softmax(dim=1)


@pytest.mark.parametrize("name", WALKED)
def test_a_misprediction_is_explained_fixed_and_carried_home(
    name: str, folder: Callable[[str], Path], tmp_path: Path, tracefix: CommandLine
) -> None:
    family, made, project = FAMILIES[name], folder(name), tmp_path / "project"
    tables = ("--train", made / "train.csv", "--test", made / "test.csv")
    new = tracefix("new", project, "--model", made / "model", *tables)
    assert new.status == 0, new.err
    wrong = json.loads(tracefix("mispredictions", project, "--json").out)
    example = wrong[0]["id"]
    test = pd.read_csv(made / "test.csv")
    classes = [f"class {number}" for number in range(family.classes)]
    before = plainly_predicted(made / "model", family, test[family.kind].tolist(), made)
    right = [classes.index(label) for label in test["label"]]
    assert {one["id"] for one in wrong} == {
        str(row) for row, number in enumerate(before.argmax(dim=1).tolist()) if number != right[row]
    }

    said = ("--method", "grad_dot", "--measurement", "loss", "--scores", tmp_path / "scores.npy")
    assert tracefix("explain", project, example, *said).status == 0
    task = task_in(made, family)
    train = gradients_alone(task, "train", range(TRAIN))
    asked = gradients_alone(task, "test", range(int(example), int(example) + 1))
    expected = -sum((train[p].flatten(1) @ asked[p].flatten() for p in train), torch.zeros(TRAIN)).numpy()
    scores = np.load(tmp_path / "scores.npy")
    assert np.corrcoef(scores, expected)[0, 1] > 0.9999
    explained = json.loads(tracefix("explain", project, example, "--method", "ekfac", "--json").out)
    assert explained["culprits"] and all(np.isfinite(one["score"]) for one in explained["culprits"])

    fix = json.loads(tracefix("fix", project, example, "--top", "3", "--steps", "2", "--json").out)
    assert fix["after"]["probabilities"] != fix["before"]["probabilities"]
    exported = tracefix("export", project, fix["fix_id"], "--output", tmp_path / "out")
    assert exported.status == 0, exported.err
    inputs = {"text": "tokenizer.json", "image": "preprocessor_config.json"}[family.kind]
    assert {"config.json", "model.safetensors", inputs} <= {
        file.name for file in (tmp_path / "out").iterdir()
    }
    (after,) = plainly_predicted(tmp_path / "out", family, [test[family.kind][int(example)]], made).tolist()
    assert dict(zip(classes, after, strict=True)) == pytest.approx(fix["after"]["probabilities"], abs=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_a_decoder_without_padding_reads_its_last_token_in_any_batch(
    name: str, folder: Callable[[str], Path]
) -> None:
    family = FAMILIES[name]
    plain = AutoModelForSequenceClassification.from_pretrained(folder(name) / "model").eval()
    assert plain.config.pad_token_id is None
    task = task_in(folder(name), family)
    with torch.no_grad():
        together = task.logits(task.model, batch_of(task, "train", range(TRAIN)).inputs)
        for position in range(TRAIN):
            inputs, _ = task.train[position]
            one = plain(**{key: row.unsqueeze(0) for key, row in inputs.items()}).logits
            torch.testing.assert_close(together[position : position + 1], one, rtol=1e-4, atol=1e-5)


def test_a_padding_token_is_one_that_no_text_holds(folder: Callable[[str], Path], tmp_path: Path) -> None:
    family = FAMILIES["gpt2"]
    family.save(tmp_path / "model")
    texts = ["good<|endoftext|>", "very bad film<|endoftext|>"]
    for split in ("train", "test"):
        table = pd.DataFrame({"text": texts, "label": ["class 0", "class 1"]})
        table.to_csv(tmp_path / f"{split}.csv", index=False)
    task = task_in(tmp_path, family)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        together = task.logits(task.model, batch_of(task, "train", [0, 1]).inputs)
        alone = torch.cat([plain(**tokenizer(text, return_tensors="pt")).logits for text in texts])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "roberta", "bart"])
def test_the_representation_is_what_the_head_reads(
    name: str, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    task = task_in(folder(name), FAMILIES[name])
    head = head_name(task, task.model)
    logits, representations = predict(task, task.model, "train", head=head, device="cpu", batch_size=4)
    assert representations is not None
    torch.testing.assert_close(task.model.get_submodule(head)(representations), logits)


def test_texts_are_cut_to_the_positions_that_the_model_has(tmp_path: Path) -> None:
    for name in ("bert", "roberta", "gpt2"):
        family = FAMILIES[name]
        family.save(tmp_path / name / "model")
        table = pd.DataFrame({"text": ["very good film " * 40, "bad"], "label": ["class 0", "class 1"]})
        for split in ("train", "test"):
            table.to_csv(tmp_path / name / f"{split}.csv", index=False)
        task = task_in(tmp_path / name, family)
        places = {"bert": 40, "roberta": 40, "gpt2": 64}[name]
        assert len(task.train[0][0]["input_ids"]) == places
        assert bool(torch.isfinite(task.logits(task.model, batch_of(task, "train", [0, 1]).inputs)).all())


def test_a_text_without_tokens_is_refused(tmp_path: Path) -> None:
    FAMILIES["gpt2"].save(tmp_path / "model")
    for split in ("train", "test"):
        pd.DataFrame({"text": ["good", ""], "label": ["class 0", "class 1"]}).to_csv(
            tmp_path / f"{split}.csv"
        )
    with pytest.raises(
        ProjectError, match=r"train\.csv' row 2 has a text of which the tokenizer makes no token"
    ):
        task_in(tmp_path, FAMILIES["gpt2"])
