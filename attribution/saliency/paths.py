"""Where a path of integrated gradients enters a model: at the word embeddings of a text, or at the input itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from attribution.task import Inputs, Task


class Path(Protocol):
    """The ends of the path, and what the model says of a point on it."""

    @property
    def example(self) -> Tensor:
        """The end that is the example, (1, ...)."""

    @property
    def neutral(self) -> Tensor:
        """The end that is the neutral input, (1, ...)."""

    def logits(self, points: Tensor) -> Tensor:
        """Logits (n, C) of points (n, ...)."""


@dataclass(frozen=True)
class EmbeddingPath:
    """From a text whose words say nothing to the text; positions and all that is no word stay.

    Args:
        embedding: name of the layer that reads the token numbers.
        name: of the input that holds them.
        inputs: the whole input, a batch of one.
        words: (1, T), True where a token belongs to a word, which is then replaced.
        nothing: the vector (D,) of a token that says nothing.
    """

    task: Task
    model: nn.Module
    embedding: str
    name: str
    inputs: Mapping[str, Tensor]
    words: Tensor
    nothing: Tensor

    @property
    def example(self) -> Tensor:
        with torch.no_grad():
            vectors: Tensor = self.model.get_submodule(self.embedding)(self.inputs[self.name])
        return vectors.detach()

    @property
    def neutral(self) -> Tensor:
        return torch.where(self.words[..., None], self.nothing.to(self.example), self.example)

    def logits(self, points: Tensor) -> Tensor:
        # The token numbers stay in the input: some models derive positions from them.
        inputs = {name: repeated(tensor, len(points)) for name, tensor in self.inputs.items()}

        def replace(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
            mine = bool(args) and isinstance(args[0], Tensor) and args[0] is not None
            same = mine and args[0].shape == inputs[self.name].shape and args[0].equal(inputs[self.name])
            return points if same else None

        handle = self.model.get_submodule(self.embedding).register_forward_hook(replace)
        try:
            return self.task.logits(self.model, inputs)
        finally:
            handle.remove()


@dataclass(frozen=True)
class InputPath:
    """From a neutral input to the example, in the numbers that the model reads.

    Args:
        name: of the input that is moved; None where the input is a single tensor.
        inputs: the whole input, a batch of one.
        neutral: (1, ...).
    """

    task: Task
    model: nn.Module
    name: str | None
    inputs: Inputs
    neutral: Tensor

    @property
    def example(self) -> Tensor:
        return self.inputs if isinstance(self.inputs, Tensor) else self.inputs[self.name or ""]

    def logits(self, points: Tensor) -> Tensor:
        if isinstance(self.inputs, Tensor):
            return self.task.logits(self.model, points)
        others = {name: repeated(tensor, len(points)) for name, tensor in self.inputs.items()}
        return self.task.logits(self.model, {**others, self.name or "": points})


def repeated(tensor: Tensor, count: int) -> Tensor:
    """A batch of one (1, ...) as ``count`` equal rows."""
    return tensor.expand(count, *tensor.shape[1:]).contiguous()


def token_embedding(task: Task, model: nn.Module, inputs: Inputs) -> tuple[str, str] | None:
    """The name of the input that holds token numbers, and that of the layer that embeds them; None where none does.

    Args:
        inputs: a batch of one.
    """
    if not isinstance(inputs, Mapping):
        return None
    numbers = {n: t for n, t in inputs.items() if t.dim() == 2 and not t.is_floating_point()}
    # Masks and segments are whole numbers, too, and segments are embedded.
    candidates = sorted(numbers, key=lambda name: name != "input_ids")
    read: dict[str, str] = {}

    def listen(layer: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            for name in candidates:
                if (args and args[0] is numbers[name]) or _equal(args, numbers[name]):
                    read.setdefault(name, layer)
                    return

        return hook

    handles = [
        module.register_forward_hook(listen(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding)
    ]
    try:
        with torch.no_grad():
            task.logits(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return next(((name, read[name]) for name in candidates if name in read), None)


def _equal(args: tuple[Any, ...], numbers: Tensor) -> bool:
    return (
        bool(args)
        and isinstance(args[0], Tensor)
        and args[0].shape == numbers.shape
        and args[0].equal(numbers)
    )
