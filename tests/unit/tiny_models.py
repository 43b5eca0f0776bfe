"""Tiny models and data that exercise every kind of layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from attribution import Checkpoint, Task

TRAIN, TEST = 40, 12
"""Examples of `trained_mlp`."""

WORDS = ["[PAD]", "[UNK]", "good", "bad", "film", "very", "not"]
"""What `word_tokenizer` knows, by number."""


class Pairs(Dataset[Any]):
    """A dataset from a list of inputs and labels."""

    def __init__(self, inputs: Sequence[Any], labels: Sequence[int]) -> None:
        self.inputs = inputs
        self.labels = list(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[Any, int]:
        return self.inputs[position], self.labels[position]


def task_of(
    model: nn.Module, inputs: Sequence[Any], labels: Sequence[int], classes: int = 3, **more: Any
) -> Task:
    """A task that trains and tests on the same few examples."""
    data = Pairs(inputs, labels)
    names = [f"class {number}" for number in range(classes)]
    return Task(model=model, train=data, test=data, class_names=names, **more)


def images(count: int, channels: int = 2, size: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def labels(count: int, classes: int = 3, seed: int = 1) -> list[int]:
    return torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Tanh(), nn.Linear(7, 3, bias=False))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, padding="same", dilation=2, bias=False, padding_mode="reflect"),
        nn.GroupNorm(2, 6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 1, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


class OneDimensional(nn.Module):
    """Conv1d with batch normalisation over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(2, 4, 3, stride=2, padding=1)
        self.normalization = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.normalization(self.convolution(inputs.flatten(2))))
        return self.head(hidden.mean(dim=2))


class TextModel(nn.Module):
    """Embedding with padding, a shared layer used twice, and an unknown kind of layer."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6, padding_idx=0)
        self.shared = nn.Linear(6, 6)
        self.gate = Gate(6)
        self.decoder = nn.Linear(6, 11, bias=False)
        if tied:
            self.decoder.weight = self.embedding.weight
        self.head = nn.Linear(11, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.gate(self.shared(torch.tanh(self.shared(self.embedding(input_ids)))))
        mask = attention_mask.unsqueeze(-1)
        pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return self.head(torch.tanh(self.decoder(pooled)))


class Gate(nn.Module):
    """A layer no rule knows: its parameters take the general path."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.randn(width))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden * torch.sigmoid(self.strength)


def small_bert(layers: int = 2) -> BertForSequenceClassification:
    """A BERT for three classes, of random weights."""
    config = BertConfig(
        vocab_size=11,
        hidden_size=8,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        num_labels=3,
    )
    return BertForSequenceClassification(config)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of a few words, for `small_bert`."""
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]")


def texts(count: int, seed: int = 0) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(count):
        length = int(torch.randint(2, 9, (1,), generator=generator))
        ids = torch.randint(1, 11, (length,), generator=generator)
        result.append({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    return result


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """½‖logits - one-hot label‖² per example: with a linear model a quadratic training objective."""
    return 0.5 * (logits - torch.eye(logits.shape[1])[labels]).square().sum(dim=1)


def settled(model: nn.Module, seed: int = 3) -> nn.Module:
    """The model with random normalisation statistics and scales, so that no term vanishes by accident."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
            with torch.no_grad():
                module.weight.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
    return model.eval()


def trained_mlp(seed: int = 0, test: int = TEST) -> Task:
    """A small MLP with three checkpoints of a short run, and some test errors; other seeds start from other weights."""
    torch.manual_seed(0)
    inputs = torch.randn(TRAIN + test, 5)
    classes = (inputs[:, :3] + 0.7 * torch.randn(TRAIN + test, 3)).argmax(dim=1).tolist()
    if seed:
        torch.manual_seed(seed)
    model = settled(mlp())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    checkpoints = []
    for step in range(31):
        if step in (2, 10, 30):
            state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            checkpoints.append(Checkpoint(state, learning_rate=0.1 / (1 + step), step=step))
        if step < 30:
            loss = nn.functional.cross_entropy(model(inputs[:TRAIN]), torch.tensor(classes[:TRAIN]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Task(
        model=model,
        train=Pairs(inputs[:TRAIN], classes[:TRAIN]),
        test=Pairs(inputs[TRAIN:], classes[TRAIN:]),
        class_names=["a", "b", "c"],
        checkpoints=checkpoints,
        train_ids=[f"train-{number}" for number in range(TRAIN)],
    )
