"""Which model folders are loaded, which are refused, and that no code of theirs runs."""

from __future__ import annotations

import json
import pickle
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from attribution.errors import ProjectError
from attribution.sources.folder_weights import conversion_command
from attribution.sources.model_folder import load_model
from tests.command_line import CommandLine
from tests.unit.model_families import FAMILIES
from tests.unit.trainer_output import Touching

BERT, VIT = FAMILIES["bert"], FAMILIES["vit"]


@pytest.fixture
def model() -> Any:
    return BERT.network()


def same(first: nn.Module, second: nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def pickled(folder: Path, model: Any, **more: object) -> Path:
    """The model as older transformers saved it: a pickle beside the configuration."""
    model.config.save_pretrained(folder)
    torch.save(dict(model.state_dict()) | more, folder / "pytorch_model.bin")
    return folder


def changed(folder: Path, **said: object) -> Path:
    """Change what the folder's ``config.json`` says."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | said))
    return folder


def refused(folder: Path, kind: str = "text") -> str:
    """The one sentence that says why a model is not loaded."""
    with pytest.raises(ProjectError) as raised:
        load_model(folder, kind)
    said = str(raised.value)
    assert "\n" not in said
    return said


def test_sharded_safetensors_are_one_model(tmp_path: Path, model: Any) -> None:
    model.save_pretrained(tmp_path, max_shard_size="5KB")
    assert (
        len(list(tmp_path.glob("model-*.safetensors"))) > 1 and not (tmp_path / "model.safetensors").exists()
    )
    assert same(load_model(tmp_path, "text"), model)
    next(tmp_path.glob("model-00002-*")).unlink()
    assert "model-00002" in (said := refused(tmp_path)) and "missing" in said


def test_pickled_tensors_are_read_whole_or_in_shards(tmp_path: Path, model: Any) -> None:
    assert same(load_model(pickled(tmp_path, model), "text"), model)
    weights = list(model.state_dict().items())
    (tmp_path / "pytorch_model.bin").unlink()
    index: dict[str, Any] = {"metadata": {}, "weight_map": {}}
    for number in range(2):
        name = f"pytorch_model-0000{number + 1}-of-00002.bin"
        torch.save(dict(weights[number::2]), tmp_path / name)
        index["weight_map"] |= {weight: name for weight, _ in weights[number::2]}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert same(load_model(tmp_path, "text"), model)


def test_a_pickle_with_code_is_refused_with_the_command_that_converts_it(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a model's folder"
    pickled(folder, model, touched=Touching(tmp_path / "touched"))
    said = refused(folder)
    assert not (tmp_path / "touched").exists()
    assert "would run code" in said and said.endswith(conversion_command(folder))
    change, to, _, *python = shlex.split(conversion_command(folder))
    assert (change, to, python[:2]) == ("cd", str(folder), ["python", "-c"])
    monkeypatch.chdir(folder)
    exec(python[2])  # what the command runs, in this process
    assert (tmp_path / "touched").exists()
    assert load_file(folder / "model.safetensors").keys() == model.state_dict().keys()
    assert same(load_model(folder, "text"), model)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_with_in_single(tmp_path: Path, model: Any, kind: torch.dtype) -> None:
    model.to(kind).save_pretrained(tmp_path)
    loaded = load_model(tmp_path, "text")
    for name, parameter in loaded.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, model.get_parameter(name).float())


def test_code_beside_a_model_is_never_run(tmp_path: Path, model: Any) -> None:
    model.save_pretrained(tmp_path)
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    auto = {"AutoConfig": "own.C", "AutoModelForSequenceClassification": "own.M"}
    assert same(load_model(changed(tmp_path, auto_map=auto), "text"), model)  # by the built-in class
    said = refused(changed(tmp_path, model_type="own"))
    assert "code of its own, which is never run" in said and "--task" in said
    assert not (tmp_path / "ran").exists()


def test_an_adapter_is_refused_with_how_to_merge_it(
    tmp_path: Path, model: Any, tracefix: CommandLine
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    table = tmp_path / "texts.csv"
    table.write_text("text,label\ngood,0\n")
    tables = ("--train", table, "--test", table)
    assert "merge_and_unload" in tracefix.refused("new", tmp_path / "project", "--model", tmp_path, *tables)
    assert not (tmp_path / "project").exists()
    assert "merge_and_unload" in refused(tmp_path)
    model.save_pretrained(tmp_path)
    assert "merge_and_unload" in refused(tmp_path)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"problem_type": "multi_label_classification"}, "any number of labels"),
        ({"problem_type": "regression"}, "predicts a number"),
        ({"id2label": {"0": "score"}, "label2id": {"score": 0}}, "predicts a number"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized"),
        ({"model_type": "unheard-of"}, "a type of its own"),
        ({"hidden_size": "wide"}, "cannot be understood"),
        ({"hidden_size": 12}, "cannot be loaded"),
    ],
)
def test_models_that_cannot_be_traced_are_refused(
    tmp_path: Path, model: Any, said: dict[str, object], why: str
) -> None:
    model.save_pretrained(tmp_path)
    assert why in refused(changed(tmp_path, **said))


def test_a_model_for_the_other_kind_of_data_is_refused(tmp_path: Path, model: Any) -> None:
    model.save_pretrained(tmp_path / "bert")
    VIT.network().save_pretrained(tmp_path / "vit")
    assert "type 'bert'" in (said := refused(tmp_path / "bert", "image")) and "--text" in said
    assert "type 'vit'" in (said := refused(tmp_path / "vit", "text")) and "--image" in said


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "tf_model.h5")


def _pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def _cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _cut_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps([1, 2, 3], protocol=2)[:-4])


def _outside(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"weight_map": {"a": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (_no_weights, "TensorFlow's"),
        (_pointer, "git lfs pull"),
        (_cut, "cannot be loaded"),
        (_cut_pickle, "cannot be loaded"),
        (_outside, "outside of its folder"),
        (_no_json, "cannot be read"),
    ],
)
def test_damaged_folders_are_refused_in_a_sentence(
    tmp_path: Path, model: Any, damage: Callable[[Path], None], why: str
) -> None:
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    damage(folder)
    assert why in refused(folder)
