"""A column of a large table kept in memory: texts end to end rather than as an object each."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, overload

import pyarrow

_NUMBERS = (int, float, type(None))  # a truth value is a whole number to Python
_ROWS = 1 << 16


class KeptColumn(Sequence[Any]):
    """Values in order, which can be stored again as one column.

    A column of numbers and missing values stays one. Any other becomes text, whatever is not text as JSON or as Python
    prints it, and takes the memory of its letters.
    """

    def __init__(self) -> None:
        self._numbers: list[Any] | None = []
        self._texts: list[pyarrow.Array] = []
        self._starts = [0]

    def extend(self, values: Sequence[Any]) -> None:
        """Add the values of the next rows."""
        if self._numbers is not None:
            if all(isinstance(value, _NUMBERS) for value in values):
                self._numbers += values
                return
            before, self._numbers = self._numbers, None
            for start in range(0, len(before), _ROWS):
                self._add_texts(before[start : start + _ROWS])
        self._add_texts(values)

    def _add_texts(self, values: Sequence[Any]) -> None:
        texts = [value if value is None or isinstance(value, str) else _printed(value) for value in values]
        self._texts.append(pyarrow.array(texts, pyarrow.large_string()))
        self._starts.append(self._starts[-1] + len(texts))

    def __len__(self) -> int:
        return self._starts[-1] if self._numbers is None else len(self._numbers)

    def __iter__(self) -> Iterator[Any]:
        if self._numbers is not None:
            yield from self._numbers
        for part in self._texts:
            yield from part.to_pylist()

    @overload
    def __getitem__(self, position: int) -> Any: ...
    @overload
    def __getitem__(self, position: slice) -> list[Any]: ...
    def __getitem__(self, position: int | slice) -> Any:
        if isinstance(position, slice):
            return [self[number] for number in range(*position.indices(len(self)))]
        if self._numbers is not None:
            return self._numbers[position]
        number = position + len(self) if position < 0 else position
        if not 0 <= number < len(self):
            raise IndexError(position)
        part = bisect_right(self._starts, number) - 1
        return self._texts[part][number - self._starts[part]].as_py()


def _printed(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
