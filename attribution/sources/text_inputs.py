"""Fitting texts to the model that reads them: which inputs it takes, how long they may be, how batches are padded.

A decoder (GPT-2, say) classifies by the last token that is not padding, and knows it by its number: padding has to be
that number, and no text may end with it. Models that were saved without one get one here, and keep it when they are
exported: transformers then finds the same last token.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from attribution.batches import stack_or_pad


@dataclass(frozen=True)
class PaddedTexts:
    """Makes batches of texts of different lengths: ids padded with the model's own padding token, the rest with 0."""

    padding: int

    def __call__(self, inputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        batch = cast(dict[str, Tensor], stack_or_pad(list(inputs)))
        for row, text in enumerate(inputs):
            batch["input_ids"][row, len(text["input_ids"]) :] = self.padding
        return batch


def padded_by(model: nn.Module) -> PaddedTexts:
    """How batches for this model are padded."""
    return PaddedTexts(_text_config(model).pad_token_id or 0)


def longest_text(model: nn.Module, wanted: int) -> int:
    """Largest number of tokens, up to ``wanted``, that the model has positions for."""
    places = getattr(_text_config(model), "max_position_embeddings", None)
    if not isinstance(places, int) or places < 1:
        return wanted
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa counts positions from after its padding token's number.
            places -= 0 if module.padding_idx is None else module.padding_idx + 1
            break
    return min(wanted, places)


def inputs_of(model: nn.Module) -> Callable[[str], bool]:
    """Says of an input's name whether the model takes it: a tokenizer may give more (DistilBERT has no token types)."""
    parameters = inspect.signature(model.forward).parameters
    return {*parameters, "attention_mask"}.__contains__


def settle_padding(model: nn.Module, folder: Path, datasets: Iterable[Any]) -> None:
    """Give the model a padding token if it has none: the tokenizer's, else its end of text, else another.

    The first of them is taken that is in no text, so that the last token that is not padding is the last one attended
    to.

    Args:
        folder: of the model, with its tokenizer.
        datasets: of texts, items ``({"input_ids": (T,), ...}, label)``.
    """
    config = _text_config(model)
    if config.pad_token_id is not None:
        return
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    used: set[int] = set()
    for dataset in datasets:
        for position in range(len(dataset)):
            used.update(dataset[position][0]["input_ids"].tolist())
    usual = [tokenizer.pad_token_id, tokenizer.eos_token_id]
    choices = [number for number in usual if number is not None and number < config.vocab_size]
    free = (number for number in chain(choices, reversed(range(config.vocab_size))) if number not in used)
    number = next(free, choices[0] if choices else 0)
    config.pad_token_id = number
    cast(Any, model).config.pad_token_id = number


def _text_config(model: nn.Module) -> Any:
    return cast(Any, model).config.get_text_config()
