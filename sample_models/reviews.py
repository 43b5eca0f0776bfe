"""`reviews`: MiniLM-L6, a pre-trained BERT, fine-tuned to tell good from bad movie reviews by one sentence.

Only the last two layers, the pooler and the classifier are trained: attribution covers exactly these, and on two
CPU cores fine-tuning takes about a minute instead of ten. No dropout anywhere, so that a prediction during
training is the prediction that attribution differentiates.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import AutoTokenizer, BertForSequenceClassification, PreTrainedTokenizerBase

from attribution.batch_order import similar_length_batches
from attribution.batches import batch_count, batch_of
from attribution.frozen import build_in_memory
from attribution.progress import SILENT, Reporter
from attribution.projects import Manifest, TrainingRecord, TransformersSource, create_project
from attribution.sources.quiet import quiet_transformers
from attribution.sources.text_data import TextDataset
from attribution.task import Task
from sample_models.minilm import minilm_folder
from sample_models.placement import building
from sample_models.training import (
    Kept,
    evenly_spaced,
    linear_decay,
    save_checkpoints,
    save_tensors,
    train,
)

SHIPPED = Path(__file__).parent / "data" / "reviews"
CLASS_NAMES = ("negative", "positive")
MAX_TOKENS = 128
FROZEN_LAYERS = 4
LEARNING_RATE = 2e-4
WEIGHT_DECAY = 0.01
BATCH_SIZE = 32
EPOCHS = 2
CHECKPOINTS = 4
SEED = 0
INITIAL = "initial"
"""Folder of the project with what fine-tuning started from."""


def create(directory: Path, reporter: Reporter = SILENT) -> None:
    """Fine-tune MiniLM-L6 and make a transformers project of it.

    Raises:
        MissingRequirementError: the package with the pre-trained weights is not installed.
    """
    with building(directory) as place, quiet_transformers():
        reporter(0.0, "Checking the pre-trained model")
        source = minilm_folder()
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
        model = untrained_model(source)
        trained = freeze_first_layers(model, FROZEN_LAYERS)
        _save_pretrained_layers(place / INITIAL, model)
        kept = _fine_tune(untrained_task(model, tokenizer), reporter.share(0.02, 0.98))
        reporter(0.98, "Writing the project")
        model.eval().save_pretrained(place / "model")
        tokenizer.save_pretrained(place / "model")
        (place / "data").mkdir()
        for split in ("train", "test"):
            shutil.copyfile(SHIPPED / f"{split}.parquet", place / "data" / f"{split}.parquet")
        _write_manifest(place, trained, kept)
        reporter(1.0, "Writing the project")


def untrained_model(source: Path) -> BertForSequenceClassification:
    """MiniLM-L6 with a new pooler and classifier, seeded: token ids (B, T) -> logits (B, 2)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return BertForSequenceClassification.from_pretrained(
            source,
            local_files_only=True,
            use_safetensors=True,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            id2label=dict(enumerate(CLASS_NAMES)),
            label2id={name: number for number, name in enumerate(CLASS_NAMES)},
        )


def freeze_first_layers(model: BertForSequenceClassification, layers: int) -> list[str]:
    """Freeze embeddings and the first ``layers`` layers; return the name prefixes of the parameters left to train."""
    trained = [f"bert.encoder.layer.{number}." for number in range(layers, model.config.num_hidden_layers)]
    trained += ["bert.pooler.", "classifier."]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(trained)))
    return trained


def _save_pretrained_layers(folder: Path, model: BertForSequenceClassification) -> None:
    """What retraining starts from, in a sixth of the whole model's size: the pre-trained layers that get trained.

    The frozen layers are those of the final model; the pooler and classifier were new, and are drawn by the seed.
    """
    pretrained = {
        name: tensor.detach().contiguous()
        for name, tensor in model.named_parameters()
        if tensor.requires_grad and name.startswith("bert.encoder.")
    }
    model.config.save_pretrained(folder)
    save_tensors(folder / "model.safetensors", pretrained)


def untrained_task(model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerBase) -> Task:
    """The model with the sentences it is to learn from and to be tested on."""
    train, test = (_sentences(split, tokenizer) for split in ("train", "test"))
    return Task(model=model, train=train, test=test, class_names=CLASS_NAMES, batch_size=BATCH_SIZE)


def _sentences(split: str, tokenizer: PreTrainedTokenizerBase) -> TextDataset:
    table = pd.read_parquet(SHIPPED / f"{split}.parquet")
    encoded = tokenizer(table["text"].tolist(), truncation=True, max_length=MAX_TOKENS)
    return TextDataset(encoded, [CLASS_NAMES.index(label) for label in table["label"]])


def _fine_tune(task: Task, reporter: Reporter) -> list[Kept]:
    """Train what is not frozen. The frozen layers' states never change: they are computed once, then replayed."""
    model = task.model
    build_in_memory(
        task, model, "train", device="cpu", batch_size=BATCH_SIZE, reporter=reporter.share(0.0, 0.25)
    )

    def batch_loss(positions: Tensor) -> Tensor:
        batch = batch_of(task, "train", positions.tolist())
        return task.loss(task.logits(model, batch.inputs), batch.labels).mean()

    sentences: Any = task.train
    lengths = [len(sentences[position][0]["input_ids"]) for position in range(task.size("train"))]
    steps = EPOCHS * batch_count(task.size("train"), BATCH_SIZE)
    return train(
        model.train(),
        batch_loss,
        torch.optim.AdamW(task.trained_parameters().values(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        batches=similar_length_batches(lengths, BATCH_SIZE, SEED),
        learning_rate=linear_decay(LEARNING_RATE, steps),
        steps=steps,
        keep=evenly_spaced(CHECKPOINTS, steps),
        reporter=reporter.share(0.25, 1.0),
        message="Fine-tuning the last layers",
    )


def _write_manifest(place: Path, trained: list[str], kept: list[Kept]) -> None:
    create_project(
        place,
        Manifest(
            name="reviews",
            title="Movie reviews",
            summary="MiniLM-L6, its last two layers fine-tuned on 6,000 sentences, positive or negative "
            "by the mean rating of human readers.",
            sample="reviews",
            source=TransformersSource(
                model="model",
                train="data/train.parquet",
                test="data/test.parquet",
                text_column="text",
                label_column="label",
                id_column="id",
                trained=trained,
                max_tokens=MAX_TOKENS,
                initial=INITIAL,
            ),
            checkpoints=save_checkpoints(place, "checkpoints", kept),
            training=TrainingRecord(
                optimizer="adamw",
                weight_decay=WEIGHT_DECAY,
                batch_size=BATCH_SIZE,
                learning_rate=LEARNING_RATE,
                steps=kept[-1].step,
            ),
        ),
    )
