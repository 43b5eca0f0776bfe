"""The texts of a transformers project as the model reads them: token numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from attribution.errors import ProjectError
from attribution.sources.python_function import describe


class TextDataset(Dataset[Any]):
    """Tokenised texts: items ``({"input_ids": (T,), "attention_mask": (T,), ...}, label)``, not padded.

    All texts lie in one tensor, text i in the columns ``offsets[i]`` to ``offsets[i + 1]``: through lists of numbers
    the garbage collector would go again and again.

    Args:
        encoded: rows of numbers by input name, as a tokenizer gives them; each text is equally long in all inputs.
        labels: class number of each text.
    """

    def __init__(self, encoded: Mapping[str, Sequence[Sequence[int]]], labels: list[int]) -> None:
        self._names = list(encoded)
        self._offsets = np.cumsum([0, *map(len, encoded["input_ids"])]).tolist()
        self._values = torch.stack([self._flat(rows) for rows in encoded.values()])
        self.labels = labels

    def _flat(self, rows: Sequence[Sequence[int]]) -> Tensor:
        numbers = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=self._offsets[-1])
        return torch.from_numpy(numbers)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[dict[str, Tensor], int]:
        columns = self._values[:, self._offsets[position] : self._offsets[position + 1]]
        return dict(zip(self._names, columns, strict=True)), self.labels[position]


def tokenized(texts: list[str], folder: Path, limit: int) -> Mapping[str, list[list[int]]]:
    """Rows of numbers by input name, as the folder's tokenizer makes them of the texts.

    Args:
        limit: largest number of tokens; longer texts are cut.

    Raises:
        ProjectError: the folder holds no readable tokenizer.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise ProjectError(
            f"The tokenizer in '{folder}' cannot be loaded ({describe(error)}): save it beside the model with "
            "tokenizer.save_pretrained(folder)."
        ) from error
    return cast(
        Mapping[str, list[list[int]]], tokenizer(texts, truncation=True, max_length=limit, padding=False)
    )
