"""Texts whose single words try to be markup, read by a model whose words can be looked at.

Copied into a project directory as its task file: it imports nothing of the tests.
"""

import re

import torch
from torch import nn

from attribution import Task

WORDS = (
    "<script>window.harmed=1</script>",
    '<img/src=x/onerror="window.harmed=1">',
    "**bold**",
    ":red[red]",
    "$x^2$",
    "</span><b>plain</b>",
)
READ, TRAIN, TEST = 6, 40, 12


class Words(nn.Module):
    """Logits that are linear in word vectors; the first word speaks for the second class."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS) + 1, 2, padding_idx=0)
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.eye(len(WORDS) + 1, 2).roll(1, 0) + 0.1)
            self.embedding.weight[0] = 0.0
            self.head.weight.copy_(torch.tensor([[-2.0, 1.0], [2.0, -1.0]]))
            self.head.bias.zero_()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head((self.embedding(input_ids) * attention_mask[..., None]).sum(dim=1))
        return logits


class Texts(torch.utils.data.Dataset):
    """Texts of six words that are read, and some that are not."""

    def __init__(self, count: int) -> None:
        self.texts = [
            " ".join(
                [
                    *(WORDS[(place + number) % len(WORDS)] for place in range(READ)),
                    "<u>cut</u> " * 5,
                    str(number),
                ]
            )
            for number in range(count)
        ]
        self.labels = [number % 2 for number in range(count)]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, position: int) -> tuple:
        words = self.texts[position].split()[:READ]
        ids = torch.tensor([1 + WORDS.index(word) for word in words])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, self.labels[position]


def spans(text: str) -> list:
    return [match.span() for match in re.finditer(r"\S+", text)][:READ]


def build() -> Task:
    train, test = Texts(TRAIN), Texts(TEST)
    return Task(
        model=Words(),
        train=train,
        test=test,
        class_names=["<b>good</b>", "*bad*"],
        train_display=train.texts,
        test_display=test.texts,
        token_spans=spans,
        learning_rate=0.1,
    )
