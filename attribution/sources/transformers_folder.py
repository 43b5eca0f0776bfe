"""A `Task` from a transformers checkpoint folder and one table per split.

Code that comes with a model is never run (`attribution.sources.model_folder`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from attribution.projects import Project, TransformersSource
from attribution.projects.manifest import FRESH
from attribution.sources.image_data import ImageProcessor, picture_mode
from attribution.sources.image_split import read_image_split
from attribution.sources.initial_weights import initial_weights_from
from attribution.sources.model_folder import auto_class, freeze
from attribution.sources.model_folder import load_model as model_in
from attribution.sources.recorded_checkpoints import recorded_checkpoints
from attribution.sources.tables.labels import ClassLabels
from attribution.sources.text_data import TextTokenizer
from attribution.sources.text_inputs import inputs_of, longest_text, padded_by, settle_padding
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
        limit = longest_text(model, source.max_tokens)
        tokenizer = TextTokenizer(folder, limit, vocabulary_size(model), inputs_of(model))
        train, test = (read_text_split(file, source, classes, tokenizer) for file in files)
    return assembled_task(project, source, model, train, test)


def assembled_task(
    project: Project, source: TransformersSource, model: nn.Module, train: SplitData, test: SplitData
) -> Task:
    """The task of a model and data with the training record of a project."""
    record = project.manifest.training
    texts = _kind(source) == "text"
    if texts:
        settle_padding(model, project.resolve(source.model), [train.dataset, test.dataset])
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
        collate=padded_by(model) if texts else None,
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
    model = model_in(folder, _kind(source))
    freeze(model, source.trained, folder)
    return model


def _initial(
    project: Project, source: TransformersSource, folder: Path
) -> Callable[[int], Mapping[str, Tensor]] | None:
    if source.initial is None:
        return None
    pretrained = None if source.initial == FRESH else project.resolve(source.initial)
    return initial_weights_from(auto_class(_kind(source)), folder, pretrained)


def _kind(source: TransformersSource) -> str:
    return "image" if source.image_column else "text"


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
