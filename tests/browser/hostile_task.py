"""A text project whose words try to be markup: what people store must be shown, never run.

Copied into a project directory as its task file: it imports nothing of the tests.
"""

import torch
from torch import nn
from torch.utils.data import TensorDataset

from attribution import Task

HOSTILE = (
    '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script> **bold** :red[red] $x^2$ `code`'
)
CLASSES = ["<b>good</b>", "*bad* :material/bolt:"]
TRAIN, TEST = 60, 24
LONG = HOSTILE * 100
"""More than 10,000 characters."""


def build() -> Task:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(TRAIN + TEST, 6, generator=generator)
    labels = (inputs[:, 0] > 0).long()
    labels[TRAIN : TRAIN + 6] = 1 - labels[TRAIN : TRAIN + 6]  # six mispredictions
    model = nn.Linear(6, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-2.0, 0, 0, 0, 0, 0], [2.0, 0, 0, 0, 0, 0]]))
        model.bias.zero_()
    return Task(
        model=model,
        train=TensorDataset(inputs[:TRAIN], labels[:TRAIN]),
        test=TensorDataset(inputs[TRAIN:], labels[TRAIN:]),
        class_names=CLASSES,
        # Some of them, mispredictions among the test examples, are endless.
        train_display=[f"{HOSTILE if number % 9 else LONG} train {number}" for number in range(TRAIN)],
        test_display=[f"{HOSTILE if number % 3 else LONG} test {number}" for number in range(TEST)],
        learning_rate=0.1,
    )
