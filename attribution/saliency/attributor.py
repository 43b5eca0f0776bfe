"""`InputAttributor`: which parts of an input moved a measurement, for one model of a task."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from attribution.batches import collated
from attribution.errors import MissingRequirementError
from attribution.measurements import Measurement
from attribution.progress import SILENT, Reporter
from attribution.projects import Project
from attribution.saliency.frame import WHOLE, PictureFrames
from attribution.saliency.integration import Integral, integrated_gradients
from attribution.saliency.paths import EmbeddingPath, InputPath, Path, token_embedding
from attribution.saliency.result import Saliency
from attribution.saliency.tokenizer import FolderTokenizer
from attribution.saliency.words import TokenizedText, parts_of_words, seen_of, tokens_of_spans, words_of
from attribution.task import Inputs, Task, move

AVERAGED = 100
"""Training examples, at even distances, whose mean is the neutral input where inputs are numbers."""

WITHOUT_WORDS = "the same text with every word masked"
AVERAGE = "the average training example"


class InputAttributor:
    """Answers what a model looked at in single examples.

    The whole model is gone through, frozen layers too: what `attribution.frozen` keeps starts behind them, where there
    are no words any more. Weights are shared with ``model``, not copied, and must not change meanwhile.

    Safe to share between threads: one question at a time.

    Args:
        project: where texts as shown and the tokenizer are.
        task: its task.
        model: the task's own model, or another one of the same architecture (a fixed one).
        device: where to compute.
    """

    def __init__(self, project: Project, task: Task, model: nn.Module, device: torch.device | str) -> None:
        self._project = project
        self._task = task
        self._device = device
        self._model = frozen_view(model).to(device).eval()
        self._tokenizer = FolderTokenizer.of(project)
        self._frames = PictureFrames.of(project)
        self._averages: dict[tuple[str | None, tuple[int, ...]], Tensor] = {}
        self._lock = threading.Lock()

    def saliency(
        self,
        split: str,
        example_id: str,
        measurement: Measurement,
        label: int,
        *,
        reporter: Reporter = SILENT,
    ) -> Saliency:
        """The parts of one input.

        Args:
            label: the class number that the measurement is given with the logits.

        Raises:
            NotFoundError: no such example.
            MissingRequirementError: inputs of this kind have no parts that could be shown.
            NumericalError: a value or gradient is NaN or infinite.
        """
        started = time.perf_counter()
        position = self._project.position(split, example_id)
        with self._lock:
            inputs = self._inputs(split, position)
            found = token_embedding(self._task, self._model, inputs)
            if found is not None:
                parts, more = self._text(split, position, inputs, *found, measurement, label, reporter)
            else:
                parts, more = self._numbers(split, position, inputs, measurement, label, reporter)
        return Saliency(
            split=split,
            example_id=str(example_id),
            measurement=measurement.name,
            measurement_words=measurement.words,
            value=parts.value,
            neutral_value=parts.neutral_value,
            error=parts.error,
            steps=parts.steps,
            seconds=time.perf_counter() - started,
            **more,
        )

    def by_word(
        self, split: str, example_id: str, tokens: Sequence[float]
    ) -> list[tuple[int, int, float]] | None:
        """Numbers of tokens (T,) as those of words: (start, end, sum); None where it is not known where tokens stand.

        Raises:
            NotFoundError: no such example.
        """
        position = self._project.position(split, example_id)
        with self._lock:
            inputs = self._inputs(split, position)
            found = token_embedding(self._task, self._model, inputs)
            if found is None:
                return None
            text = self._shown_text(split, position)
            try:
                tokenized = self._tokenized(text, cast(Mapping[str, Tensor], inputs)[found[0]][0].tolist())
            except MissingRequirementError:
                return None
        words = words_of(text, tokenized)
        sums = parts_of_words(words, np.asarray(tokens, dtype=np.float64))
        return [(word.start, word.end, float(part)) for word, part in zip(words, sums, strict=True)]

    def _inputs(self, split: str, position: int) -> Inputs:
        """One example as a batch; not by `batch_of`, which adds the stored states of frozen layers."""
        item = cast(Any, self._task.dataset(split))[position]
        return move(collated(self._task, [item], [position]).inputs, self._device)

    def _shown_text(self, split: str, position: int) -> str:
        return str(self._project.examples(split).iloc[position].get("text", ""))

    # -- texts --------------------------------------------------------------------------------------------------

    def _text(
        self,
        split: str,
        position: int,
        inputs: Inputs,
        name: str,
        embedding: str,
        measurement: Measurement,
        label: int,
        reporter: Reporter,
    ) -> tuple[Integral, dict[str, Any]]:
        tensors = cast(Mapping[str, Tensor], inputs)
        text = self._shown_text(split, position)
        numbers = tensors[name][0].tolist()
        tokenized = self._tokenized(text, numbers)
        path = EmbeddingPath(
            self._task,
            self._model,
            embedding,
            name,
            tensors,
            words=torch.tensor(
                [[end > start for start, end in tokenized.spans]], device=tensors[name].device
            ),
            nothing=self._nothing(embedding, tokenized),
        )
        integral = self._integrated(
            path, measurement, label, lambda vectors: vectors.sum(dim=-1)[0], reporter
        )
        words = words_of(text, tokenized)
        return integral, {
            "kind": "words",
            "parts": parts_of_words(words, integral.parts.numpy()),
            "neutral": WITHOUT_WORDS,
            "spans": tuple((word.start, word.end) for word in words),
            "seen": seen_of(text, words),
        }

    def _tokenized(self, text: str, numbers: list[int]) -> TokenizedText:
        if self._task.token_spans is not None:
            spans = [(int(start), int(end)) for start, end in self._task.token_spans(text)]
            if len(spans) != len(numbers):
                raise MissingRequirementError(
                    f"token_spans gives {len(spans)} spans for a text of {len(numbers)} tokens: give one for each "
                    "token that the model reads."
                )
            return tokens_of_spans(spans, text)
        if self._tokenizer is None:
            raise MissingRequirementError(
                "Where the model's tokens stand in the text is not known: give Task(token_spans=...), a function from "
                "a text to the (start, end) of each of its tokens."
            )
        return self._tokenizer.tokenized(text, numbers)

    def _nothing(self, embedding: str, tokenized: TokenizedText) -> Tensor:
        """The vector of a token that says nothing: the tokenizer's, else the layer's padding, else zeros."""
        layer = self._model.get_submodule(embedding)
        weight = cast(Tensor, layer.weight)
        padding = getattr(layer, "padding_idx", None)
        number = padding if tokenized.nothing is None else tokenized.nothing
        if number is None:
            return weight.new_zeros(weight.shape[1])
        with torch.no_grad():  # through the layer, which may scale its rows
            vector: Tensor = layer(torch.tensor([[number]], device=weight.device))
        return vector[0, 0]

    # -- pictures and numbers -----------------------------------------------------------------------------------

    def _numbers(
        self,
        split: str,
        position: int,
        inputs: Inputs,
        measurement: Measurement,
        label: int,
        reporter: Reporter,
    ) -> tuple[Integral, dict[str, Any]]:
        name, values = moved_input(inputs)
        path = InputPath(self._task, self._model, name, inputs, self._average(name, values))
        shape = tuple(values.shape[1:])
        more: dict[str, Any] = {"neutral": AVERAGE}
        picture = self._picture_size(split, position)
        axis = _channel_axis(shape)
        if picture is not None and axis is not None:
            integral = self._integrated(path, measurement, label, lambda v: v[0].sum(dim=axis), reporter)
            parts = integral.parts
        elif picture is not None and (len(shape) == 2 or values.numel() == picture[0] * picture[1]):
            integral = self._integrated(path, measurement, label, lambda v: v[0], reporter)
            parts = integral.parts.reshape(shape if len(shape) == 2 else picture)
        elif len(shape) == 1:
            integral = self._integrated(path, measurement, label, lambda v: v[0], reporter)
            numbers = values[0].double().cpu().numpy()
            return integral, {**more, "kind": "numbers", "parts": integral.parts.numpy(), "numbers": numbers}
        else:
            raise _unavailable(shape)
        channels = values.shape[1 + axis] if axis is not None else 1
        frame = WHOLE if self._frames is None else self._frames.frame(*picture, channels)
        return integral, {
            **more,
            "kind": "pixels",
            "parts": parts.numpy(),
            "picture": picture,
            "frame": frame,
        }

    def _picture_size(self, split: str, position: int) -> tuple[int, int] | None:
        """Height and width of the picture that a person sees; None where examples are no pictures."""
        table = self._project.examples(split)
        if "image" not in table.columns or table["image"].iloc[position] is None:
            return None
        import io

        from PIL import Image

        with Image.open(io.BytesIO(table["image"].iloc[position])) as picture:
            return picture.height, picture.width

    def _average(self, name: str | None, values: Tensor) -> Tensor:
        """The mean of some training examples of the same shape (1, ...), from which the path starts."""
        key = (name, tuple(values.shape[1:]))
        if key not in self._averages:
            size = self._task.size("train")
            dataset = cast(Any, self._task.train)
            positions = np.unique(np.linspace(0, size - 1, min(size, AVERAGED)).round().astype(int)).tolist()
            total, count = torch.zeros(key[1], dtype=torch.float64), 0
            for position in positions:
                item = collated(self._task, [dataset[position]], [position]).inputs
                tensor = item if isinstance(item, Tensor) else item[name or ""]
                if tuple(tensor.shape[1:]) == key[1]:
                    total += tensor[0].double()
                    count += 1
            self._averages[key] = (total / max(count, 1)).to(values)[None]
        return self._averages[key]

    # -- both ---------------------------------------------------------------------------------------------------

    def _integrated(
        self, path: Path, measurement: Measurement, label: int, reduce: Any, reporter: Reporter
    ) -> Integral:
        def value(points: Tensor) -> Tensor:
            logits = path.logits(points)
            labels = torch.full((len(points),), label, device=logits.device)
            return measurement.value(logits, labels)

        return integrated_gradients(value, path.example, path.neutral, reduce, reporter)


def frozen_view(model: nn.Module) -> nn.Module:
    """The same modules with the same weights, of which no gradients are taken; costs next to no memory."""
    shared: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=False)
        for parameter in model.parameters()
    }
    shared |= {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, shared)


def moved_input(inputs: Inputs) -> tuple[str | None, Tensor]:
    """The one input that is made of real numbers, and its name (None for a single tensor).

    Raises:
        MissingRequirementError: there is none, or more than one.
    """
    if isinstance(inputs, Tensor):
        if not inputs.is_floating_point():
            raise _unavailable(tuple(inputs.shape[1:]), "whole numbers of ")
        return None, inputs
    moved = [(name, tensor) for name, tensor in inputs.items() if tensor.is_floating_point()]
    if len(moved) != 1:
        raise MissingRequirementError(
            "What the model looked at can be shown for texts, pictures and inputs of one row of numbers; this model "
            f"reads {', '.join(inputs)}."
        )
    return moved[0]


def _channel_axis(shape: tuple[int, ...]) -> int | None:
    """Which axis of a picture's numbers are its channels; None where they are no picture with channels."""
    if len(shape) != 3:
        return None
    return 0 if shape[0] <= 4 else 2 if shape[2] <= 4 else None


def _unavailable(shape: tuple[int, ...], what: str = "") -> MissingRequirementError:
    size = " × ".join(map(str, shape)) or "1"
    return MissingRequirementError(
        "What the model looked at can be shown for texts, pictures and inputs of one row of numbers; this model reads "
        f"{what}{size}."
    )
