"""Pictures in files, and small image classifiers with their processors in folders."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import (
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from tests.unit.tiny_models import settled

CLASSES = ["cat", "dog", "owl"]
SIDE = 12
"""Pixels of the models' pictures, each way."""


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def noise(seed: int, width: int = 14, height: int = 9) -> Image.Image:
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def save_classifier(folder: Path, family: str = "resnet", channels: int = 3) -> nn.Module:
    """A random classifier of `CLASSES` with its image processor, saved."""
    torch.manual_seed(0)
    names = {
        "id2label": dict(enumerate(CLASSES)),
        "label2id": {name: number for number, name in enumerate(CLASSES)},
    }
    model: PreTrainedModel
    if family == "resnet":
        model = ResNetForImageClassification(
            ResNetConfig(
                num_channels=channels,
                embedding_size=4,
                hidden_sizes=[4, 6],
                depths=[1, 1],
                layer_type="basic",
                **names,
            )
        )
    else:
        model = ViTForImageClassification(
            ViTConfig(
                num_channels=channels,
                image_size=SIDE,
                patch_size=4,
                hidden_size=8,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=12,
                **names,
            )
        )
    settled(model).save_pretrained(folder)
    ViTImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.4] * channels, image_std=[0.3] * channels
    ).save_pretrained(folder)
    return model


def save_class_folders(folder: Path, each: int) -> list[str]:
    """Noise in class folders, every other picture one folder deeper; returns the paths in order."""
    paths = []
    for number, name in enumerate(CLASSES):
        for picture in range(each):
            path = f"{name}/deep/{picture}.png" if picture % 2 else f"{name}/{picture}.png"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            noise(100 * number + picture).save(folder / path)
            paths.append(path)
    return sorted(paths)
