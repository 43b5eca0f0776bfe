"""The texts of a transformers project as the model reads them: token numbers, kept compactly.

Texts are tokenised some at a time and their numbers laid end to end, on disk where they are many: memory never holds a
list for each text of a large table.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from attribution.errors import ProjectError
from attribution.sources.python_function import describe

_IN_MEMORY = 1 << 22
"""Numbers of an input that are kept in memory; more go to a temporary file, which is mapped."""


class _Numbers:
    """Numbers laid end to end; those that are all the same, as in a mask without padding, are kept as one."""

    def __init__(self) -> None:
        self._size = 0
        self._constant: int | None = None
        self._parts: list[np.ndarray] = []
        self._held = 0
        self._file: IO[bytes] | None = None
        self._stored: np.ndarray | None = None

    def append(self, numbers: np.ndarray) -> None:
        if not len(numbers):
            return
        if not self._size:
            self._constant = int(numbers[0])
        if self._constant is not None and (numbers == self._constant).all():
            self._size += len(numbers)
            return
        if self._constant is not None:  # so far it was one number, and that has to be written out now
            before, self._constant = self._constant, None
            for start in range(0, self._size, _IN_MEMORY):
                self._keep(np.full(min(_IN_MEMORY, self._size - start), before, dtype=np.int32))
        self._keep(numbers.astype(np.int32))
        self._size += len(numbers)

    def _keep(self, numbers: np.ndarray) -> None:
        self._parts.append(numbers)
        self._held += len(numbers)
        if self._held > _IN_MEMORY:
            self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the dataset)
            for part in self._parts:
                part.tofile(self._file)
            self._parts, self._held = [], 0

    def close(self) -> None:
        """Nothing comes any more."""
        if self._constant is not None or not self._size:
            return
        if self._file is None:
            self._stored = np.concatenate(self._parts)
        else:
            for part in self._parts:
                part.tofile(self._file)
            self._file.flush()
            self._stored = np.memmap(self._file, dtype=np.int32, mode="r", shape=(self._size,))
        self._parts = []

    def __getitem__(self, place: slice) -> Tensor:
        if self._stored is None:
            return torch.full((place.stop - place.start,), self._constant or 0, dtype=torch.int64)
        return torch.from_numpy(np.array(self._stored[place], dtype=np.int64))


class TextDataset(Dataset[Any]):
    """Tokenised texts: items ``({"input_ids": (T,), "attention_mask": (T,), ...}, label)``, not padded.

    The numbers of all texts lie end to end, those of text i from ``offsets[i]`` to ``offsets[i + 1]``: through lists of
    numbers the garbage collector would go again and again.

    Args:
        encoded: rows of numbers by input name, as a tokenizer gives them; each text is equally long in all inputs.
        labels: class number of each text.
    """

    def __init__(self, encoded: Mapping[str, Sequence[Sequence[int]]], labels: Sequence[int]) -> None:
        builder = TextDatasetBuilder()
        builder.append(encoded)
        self._take(builder, labels)

    @classmethod
    def built(cls, builder: TextDatasetBuilder, labels: Sequence[int] | np.ndarray) -> TextDataset:
        """The dataset of what a builder was given; it can take no more."""
        dataset = cls.__new__(cls)
        dataset._take(builder, labels)
        return dataset

    def _take(self, builder: TextDatasetBuilder, labels: Sequence[int] | np.ndarray) -> None:
        self._numbers, self._offsets = builder.close()
        self.labels = np.asarray(labels, dtype=np.int64)
        self.lengths = np.diff(self._offsets)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[dict[str, Tensor], int]:
        label = int(self.labels[position])  # raises IndexError after the last one, which ends an iteration
        place = slice(int(self._offsets[position]), int(self._offsets[position + 1]))
        return {name: numbers[place] for name, numbers in self._numbers.items()}, label


class TextDatasetBuilder:
    """Takes tokenised texts some at a time."""

    def __init__(self) -> None:
        self._numbers: dict[str, _Numbers] = {}
        self._lengths: list[np.ndarray] = []

    def append(self, encoded: Mapping[str, Sequence[Sequence[int]]]) -> None:
        """Take the next texts: rows of numbers by input name, the same names each time.

        Raises:
            ProjectError: there is no room for temporary files.
        """
        rows = encoded["input_ids"]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        self._lengths.append(lengths)
        total = int(lengths.sum())
        for name, values in encoded.items():
            flat = np.fromiter(chain.from_iterable(values), dtype=np.int64, count=total)
            with _room():
                self._numbers.setdefault(name, _Numbers()).append(flat)

    def close(self) -> tuple[dict[str, _Numbers], np.ndarray]:
        """The numbers of each input, and where each text begins (N + 1,)."""
        with _room():
            for numbers in self._numbers.values():
                numbers.close()
        lengths = np.concatenate([np.zeros(1, dtype=np.int64), *self._lengths])
        return self._numbers, np.cumsum(lengths)


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ProjectError(
            f"The token numbers of the texts cannot be kept in '{tempfile.gettempdir()}' ({error.strerror or error}): "
            "free some space there, or name another folder with TMPDIR."
        ) from error


class TextTokenizer:
    """The tokenizer of a transformers folder.

    Args:
        folder: where it lies.
        limit: largest number of tokens; longer texts are cut, of a pair the longer part first.
        vocabulary: how many tokens the model knows; None where that is unknown.
        inputs: whether the model takes an input of this name.

    Raises:
        ProjectError: the folder holds no readable tokenizer.
    """

    def __init__(
        self,
        folder: Path,
        limit: int,
        vocabulary: int | None = None,
        inputs: Callable[[str], bool] = lambda name: True,
    ) -> None:
        from transformers import AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:
            raise ProjectError(
                f"The tokenizer in '{folder}' cannot be loaded ({describe(error)}): save it beside the model with "
                "tokenizer.save_pretrained(folder)."
            ) from error
        if set(self._tokenizer.get_vocab()) <= set(self._tokenizer.all_special_tokens):
            # transformers makes an empty one where the files are missing: every word would be unknown
            raise ProjectError(
                f"The tokenizer in '{folder}' knows no words, as if its files were missing: save it beside the model "
                "with tokenizer.save_pretrained(folder)."
            )
        self._folder = folder
        self._vocabulary = vocabulary
        self._inputs = inputs
        self.limit = min(limit, self._tokenizer.model_max_length)

    def __call__(
        self, texts: list[str], pairs: list[str] | None, file: Path, start: int
    ) -> Mapping[str, list[list[int]]]:
        """Rows of numbers by input name, not padded.

        Args:
            file, start: the table, and the rows in it before these, for messages.

        Raises:
            ProjectError: no token is left of a text, or the model does not know one.
        """
        encoded = self._tokenizer(texts, pairs, truncation=True, max_length=self.limit, padding=False)
        for row, tokens in enumerate(encoded["input_ids"], start=start + 1):
            if not tokens:
                raise ProjectError(
                    f"'{file}' row {row} has a text of which the tokenizer makes no token (it is empty, or nearly): "
                    "fill it in, or drop that row."
                )
            if self._vocabulary is not None and max(tokens) >= self._vocabulary:
                raise ProjectError(
                    f"The tokenizer in '{self._folder}' gives token {max(tokens)} for '{file}' row {row}, and the "
                    f"model knows {self._vocabulary}: put the tokenizer it was trained with into its folder."
                )
        return {name: rows for name, rows in encoded.items() if self._inputs(name)}

    def lengths(self, texts: list[str], pairs: list[str] | None) -> list[int]:
        """How many tokens texts (or pairs of them) have when nothing is cut, special ones included."""
        if not texts:
            return []
        # Without a largest length there is nothing to warn of: these go to no model.
        encoded = self._tokenizer(texts, pairs, truncation=False, padding=False, verbose=False)
        return [len(tokens) for tokens in encoded["input_ids"]]
