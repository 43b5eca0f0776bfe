"""A `Task` from a transformers checkpoint folder and one table per split.

Weights are read from safetensors only, and code that comes with a model is never run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from attribution.errors import ProjectError
from attribution.projects import Project, TransformersSource
from attribution.projects.manifest import FRESH, CheckpointRecord
from attribution.sources.image_data import ImageDataset, pictures_of, pixel_values
from attribution.sources.initial_weights import initial_weights_from
from attribution.sources.optimizer_state import read_second_moments
from attribution.sources.python_function import describe
from attribution.sources.quiet import quiet_transformers
from attribution.sources.tables import class_numbers, column, ids, read_table
from attribution.sources.text_data import TextDataset, tokenized
from attribution.task import Checkpoint, Task, TrainedModel


def load_transformers_task(project: Project, source: TransformersSource) -> Task:
    """Model, processed data and training record of a transformers project.

    Raises:
        ProjectError: the folder or a table is missing, damaged, or they do not fit each other.
    """
    folder = project.resolve(source.model)
    model = _model(folder, _kind(source))
    _freeze(model, source.trained, folder)
    config = cast(Any, model).config
    class_names = [str(config.id2label[number]) for number in range(config.num_labels)]
    splits = {}
    for split, name in (("train", source.train), ("test", source.test)):
        file = project.resolve(name)
        splits[split] = _split(read_table(file), source, file, folder, class_names)
    record = project.manifest.training
    return Task(
        model=model,
        train=splits["train"]["dataset"],
        test=splits["test"]["dataset"],
        class_names=class_names,
        checkpoints=_checkpoints(project, project.manifest.checkpoints, model),
        optimizer=record.optimizer,
        momentum=record.momentum,
        weight_decay=record.weight_decay,
        batch_size=record.batch_size,
        learning_rate=record.learning_rate,
        steps=record.steps,
        betas=record.betas,
        epsilon=record.epsilon,
        learning_rates=record.learning_rates,
        initial=_initial(project, source, folder),
        train_ids=splits["train"]["ids"],
        test_ids=splits["test"]["ids"],
        train_metadata=splits["train"]["metadata"],
        test_metadata=splits["test"]["metadata"],
        train_display=splits["train"]["display"],
        test_display=splits["test"]["display"],
        ensemble=[
            TrainedModel(project.resolve(trained.path), _checkpoints(project, trained.checkpoints, model))
            for trained in project.manifest.ensemble
        ],
    )


def _checkpoints(project: Project, records: Sequence[CheckpointRecord], model: nn.Module) -> list[Checkpoint]:
    return [
        Checkpoint(
            project.resolve(record.path),
            learning_rate=record.learning_rate,
            step=record.step,
            second_moments=(
                read_second_moments(project.resolve(record.second_moments), model)
                if record.second_moments
                else None
            ),
        )
        for record in records
    ]


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


def _split(
    table: pd.DataFrame, source: TransformersSource, file: Path, folder: Path, class_names: list[str]
) -> dict[str, Any]:
    if table.empty:
        raise ProjectError(f"'{file}' has no rows: give at least one example.")
    labels = class_numbers(column(table, source.label_column, file), class_names, file)
    used = {source.label_column, source.id_column, source.text_column, source.image_column}
    metadata = {str(name): table[name].tolist() for name in table.columns if name not in used}
    if source.image_column:
        images = pictures_of(column(table, source.image_column, file), file)
        dataset: Dataset[Any] = ImageDataset(pixel_values([image for image, _ in images], folder), labels)
        display: list[Any] = [shown for _, shown in images]
    else:
        texts = [str(text) for text in column(table, source.text_column or "text", file)]
        dataset = TextDataset(tokenized(texts, folder, source.max_tokens), labels)
        display = texts
    return {"dataset": dataset, "ids": ids(table, source, file), "metadata": metadata, "display": display}
