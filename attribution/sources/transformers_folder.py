"""A `Task` from a transformers checkpoint folder and one table per split.

Weights are read from safetensors only, and code that comes with a model is never run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from attribution.errors import ProjectError
from attribution.projects import Project, TransformersSource
from attribution.projects.manifest import FRESH
from attribution.sources.image_data import ImageProcessor, picture_mode
from attribution.sources.image_split import read_image_split
from attribution.sources.initial_weights import initial_weights_from
from attribution.sources.python_function import describe
from attribution.sources.quiet import quiet_transformers
from attribution.sources.recorded_checkpoints import recorded_checkpoints
from attribution.sources.tables.labels import ClassLabels
from attribution.sources.text_data import TextTokenizer
from attribution.sources.text_split import SplitData, read_text_split
from attribution.task import Task, TrainedModel


def load_transformers_task(project: Project, source: TransformersSource) -> Task:
    """Model, processed data and training record of a transformers project.

    Raises:
        ProjectError: the folder or a table is missing, damaged, or they do not fit each other.
    """
    folder = project.resolve(source.model)
    model = load_model(project, source)
    classes = classes_of(model)
    files = [project.resolve(name) for name in (source.train, source.test)]
    if source.image_column:
        mode, processor = picture_mode(cast(Any, model).config, folder), ImageProcessor(folder)
        train, test = (read_image_split(file, source, classes, processor, mode) for file in files)
    else:
        tokenizer = TextTokenizer(folder, source.max_tokens, vocabulary_size(model))
        train, test = (read_text_split(file, source, classes, tokenizer) for file in files)
    return assembled_task(project, source, model, train, test)


def assembled_task(
    project: Project, source: TransformersSource, model: nn.Module, train: SplitData, test: SplitData
) -> Task:
    """The task of a model and data with the training record of a project."""
    record = project.manifest.training
    return Task(
        model=model,
        train=train.dataset,
        test=test.dataset,
        class_names=classes_of(model).names,
        checkpoints=recorded_checkpoints(project, project.manifest.checkpoints, model),
        optimizer=record.optimizer,
        momentum=record.momentum,
        weight_decay=record.weight_decay,
        batch_size=record.batch_size,
        learning_rate=record.learning_rate,
        steps=record.steps,
        betas=record.betas,
        epsilon=record.epsilon,
        learning_rates=record.learning_rates,
        initial=_initial(project, source, project.resolve(source.model)),
        train_ids=train.ids,
        test_ids=test.ids,
        train_metadata=train.metadata,
        test_metadata=test.metadata,
        train_display=train.display,
        test_display=test.display,
        ensemble=[
            TrainedModel(
                project.resolve(trained.path), recorded_checkpoints(project, trained.checkpoints, model)
            )
            for trained in project.manifest.ensemble
        ],
    )


def load_model(project: Project, source: TransformersSource) -> nn.Module:
    """The model of a transformers project in evaluation mode; only what was trained requires gradients.

    Raises:
        ProjectError: the folder holds no trained classifier that can be loaded.
    """
    folder = project.resolve(source.model)
    model = _model(folder, _kind(source))
    outputs = cast(Any, model).config.num_labels
    if outputs < 2:
        raise ProjectError(
            f"The model in '{folder}' has {outputs} output (num_labels in its config.json), as for regression: give "
            "the folder of a classifier with at least two classes."
        )
    _freeze(model, source.trained, folder)
    return model


def _initial(
    project: Project, source: TransformersSource, folder: Path
) -> Callable[[int], Mapping[str, Tensor]] | None:
    if source.initial is None:
        return None
    pretrained = None if source.initial == FRESH else project.resolve(source.initial)
    return initial_weights_from(_auto(_kind(source)), folder, pretrained)


def _kind(source: TransformersSource) -> str:
    return "image" if source.image_column else "text"


def _auto(kind: str) -> Any:
    """The class that loads models of a kind."""
    from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

    return AutoModelForImageClassification if kind == "image" else AutoModelForSequenceClassification


def classes_of(model: nn.Module) -> ClassLabels:
    """The classes of a transformers model, as its config names them."""
    return ClassLabels.of(cast(Any, model).config)


def vocabulary_size(model: nn.Module) -> int | None:
    """How many tokens a model knows; None where it does not say."""
    try:
        embeddings = cast(Any, model).get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    found = getattr(embeddings, "num_embeddings", None)
    return found if isinstance(found, int) else None


def _model(folder: Path, kind: str) -> nn.Module:
    auto = _auto(kind)
    if not (folder / "config.json").is_file():
        raise ProjectError(
            f"'{folder}' is not a transformers checkpoint (it has no config.json): give its folder."
        )
    try:
        with quiet_transformers():
            model, report = auto.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,  # None would ask the user, in the terminal
                output_loading_info=True,
                dtype=torch.float32,  # half precision is for storing: gradients need more
            )
    except Exception as error:
        raise ProjectError(
            f"The model in '{folder}' cannot be loaded ({describe(error)}): save it again with "
            "model.save_pretrained(folder), which writes safetensors."
        ) from error
    if report["missing_keys"]:
        raise ProjectError(
            f"The model in '{folder}' has no weights for '{min(report['missing_keys'])}', which would be random: "
            "give the folder of a model that was fine-tuned as a classifier."
        )
    return cast(nn.Module, model.eval())


def _freeze(model: nn.Module, prefixes: list[str], folder: Path) -> None:
    """Leave only the parameters that were trained with ``requires_grad``."""
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
