"""Models as other libraries take them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Logits(nn.Module):
    """A classifier of pictures as a module that gives logits of a batch of them, as transformers' models do not."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Tensor:
        output = self.model(pixels(inputs))
        return output if isinstance(output, Tensor) else output.logits


def pixels(inputs: Any) -> Tensor:
    """The pictures (B, ...) of a batch of inputs, which transformers' models get by name."""
    return inputs["pixel_values"] if isinstance(inputs, dict) else inputs
