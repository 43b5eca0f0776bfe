"""The model of a transformers folder: a sequence or image classifier, its weights in single precision.

Code that comes with a model is never run: neither from its pickles nor from Python files beside it. A folder that
names code of its own (``auto_map``) is loaded with the class that transformers itself has for that type of model, or
not at all.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from attribution.errors import ProjectError
from attribution.sources.folder_weights import SAFE, conversion_command, weight_files
from attribution.sources.python_function import describe
from attribution.sources.quiet import quiet_transformers

_CLASSIFIES = {"text": "texts (for sequence classification)", "image": "images (for image classification)"}


def load_model(folder: Path, kind: str) -> nn.Module:
    """The model in evaluation mode.

    Args:
        kind: "text" or "image".

    Raises:
        ProjectError: the folder holds no classifier of this kind with one label per example, or none that can be read
            without running code.
    """
    said = read_config(folder)
    auto = auto_class(kind)
    config = _config(folder, said)
    if type(config) not in auto._model_mapping:
        raise ProjectError(
            f"The model in '{folder}' is of the type '{config.model_type}', which transformers does not have for "
            f"{_CLASSIFIES[kind]}: name the other column (--text or --image), or give a classifier's folder."
        )
    _check_one_label(config, folder)
    files = weight_files(folder)
    try:
        with quiet_transformers():
            model, report = auto.from_pretrained(
                folder,
                config=config,
                use_safetensors=files[0].suffix == Path(SAFE).suffix,
                weights_only=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                dtype=torch.float32,  # half precision is for storing: gradients need more
            )
    except Exception as error:
        _refuse_code_in(files)
        raise ProjectError(
            f"The model in '{folder}' cannot be loaded ({describe(error)}): save it again with "
            "model.save_pretrained(folder), which writes safetensors."
        ) from error
    if report["missing_keys"]:
        raise ProjectError(
            f"The model in '{folder}' has no weights for '{min(report['missing_keys'])}', which would be random: "
            "give the folder of a model that was fine-tuned as a classifier."
        )
    model.config.return_dict = True
    return cast(nn.Module, model.eval())


def auto_class(kind: str) -> Any:
    """The class that loads models of a kind."""
    from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

    return AutoModelForImageClassification if kind == "image" else AutoModelForSequenceClassification


def read_config(folder: Path) -> dict[str, Any]:
    """What ``config.json`` says.

    Raises:
        ProjectError: the folder holds no whole model, or one that cannot be differentiated.
    """
    if (folder / "adapter_config.json").is_file():
        raise ProjectError(
            f"'{folder}' holds an adapter (LoRA, say) and no whole model: merge it into its base model first, with "
            f"peft.PeftModel.from_pretrained(base, {str(folder)!r}).merge_and_unload().save_pretrained(new_folder), "
            "and save the tokenizer or image processor there, too."
        )
    file = folder / "config.json"
    if not file.is_file():
        raise ProjectError(
            f"'{folder}' is not a transformers checkpoint (it has no config.json): give its folder."
        )
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProjectError(f"'{file}' cannot be read ({describe(error)}): save the model again.") from error
    if not isinstance(said, dict):
        raise ProjectError(f"'{file}' is not the configuration of a model: save the model again.")
    if said.get("quantization_config"):
        raise ProjectError(
            f"The model in '{folder}' is quantized, and whole numbers have no gradients: give the folder of the model "
            "before it was quantized."
        )
    return said


def _config(folder: Path, said: dict[str, Any]) -> Any:
    from transformers import CONFIG_MAPPING, AutoConfig

    if said.get("model_type") not in CONFIG_MAPPING:
        own_code = "code of its own, which is never run" if said.get("auto_map") else "a type of its own"
        raise ProjectError(
            f"The model in '{folder}' needs {own_code} (model_type '{said.get('model_type')}' in config.json is not "
            "one of transformers'): write a task file that builds it, and give --task FILE.py:FUNCTION."
        )
    try:
        with quiet_transformers():
            return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ProjectError(
            f"'{folder / 'config.json'}' cannot be understood ({describe(error)}): save the model again."
        ) from error


def _check_one_label(config: Any, folder: Path) -> None:
    """Refuse models whose logits are not those of classes that exclude each other."""
    if config.problem_type == "multi_label_classification":
        raise ProjectError(
            f"The model in '{folder}' gives each example any number of labels (problem_type in config.json): only "
            "models for one label per example can be traced; write a task file for one label's logits."
        )
    if config.problem_type == "regression" or config.num_labels < 2:
        raise ProjectError(
            f"The model in '{folder}' has one output and predicts a number ({config.num_labels} label, problem_type "
            f"'{config.problem_type}'): only classifiers of two classes or more can be traced."
        )


def _refuse_code_in(files: Sequence[Path]) -> None:
    """Say so where the weights are pickles that hold more than tensors."""
    for file in files:
        if file.suffix == Path(SAFE).suffix:
            continue
        try:
            torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ProjectError(
                f"'{file}' is a pickle that would run code on being read, or is damaged; it is left closed: if you "
                f"trust where it is from, write its weights as safetensors with: {conversion_command(file.parent)}"
            ) from error
        except Exception:
            return  # damaged in another way, which the caller has an error for


def freeze(model: nn.Module, prefixes: list[str], folder: Path) -> None:
    """Leave only the parameters that were trained with ``requires_grad``.

    Raises:
        ProjectError: no parameter has such a name.
    """
    if not prefixes:
        return
    found = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(name.startswith(prefix) for prefix in prefixes))
        found += int(parameter.requires_grad)
    if not found:
        raise ProjectError(
            f"No parameter of '{folder}' starts with {prefixes}: mend 'trained' in project.json."
        )
