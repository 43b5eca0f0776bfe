"""Labels of a table as class numbers of a model: names, numbers or truth values, and why one does not fit.

How a label is read:
    a name       as the model writes it (``id2label``, then ``label2id``); else apart from case and surrounding space,
                 where that leaves one class
    LABEL_2      class 2, transformers' name for a class without one
    2, 2.0       class 2, text or number
    true, false  class 1 and 0 of a model with two classes
Where the model's names are numbers themselves (star ratings, say), a whole column is read as names if it can be, else
as numbers, and every later one of the same model in the same way: both splits mean the same by a label.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from attribution.errors import ProjectError
from attribution.sources.tables.values import is_missing

_NUMBER = re.compile(r"(-?\d+)(?:\.0*)?")
_GENERIC = re.compile(r"LABEL_(\d+)", re.IGNORECASE)
_TRUTH = {"true": 1, "false": 0}
_SHOWN = 20


@dataclass
class LabelColumn:
    """The labels of a table as they come: each different one once, and which one each row has.

    Memory grows by four bytes a row.
    """

    file: Path
    column: str
    limit: int = 10_000
    """So many different labels are no classes."""
    values: list[str] = field(default_factory=list)
    first_rows: list[int] = field(default_factory=list)
    codes: array[int] = field(default_factory=lambda: array("i"))
    _known: dict[tuple[type, Any], int] = field(default_factory=dict)

    def add(self, labels: Sequence[Any]) -> None:
        """Take the labels of the next rows.

        Raises:
            ProjectError: a label is missing or no label, or there are too many different ones.
        """
        for label in labels:
            key = (
                type(label),
                label if isinstance(label, str | int | float | bool | Decimal) else str(label),
            )
            code = self._known.get(key)
            if code is None:
                code = self._new(label)
                self._known[key] = code
            self.codes.append(code)

    correction = "correct the label, name another column with --label"
    """What could be done about an unknown label."""

    def described(self, code: int) -> str:
        """Where a label stands, for the beginning of a sentence."""
        return (
            f"'{self.file}' row {self.first_rows[code]} has the label '{_short(self.values[code])}' in column "
            f"'{self.column}'"
        )

    def _new(self, label: Any) -> int:
        row = len(self.codes) + 1
        text = str(label).strip()
        if is_missing(label) or not text:
            raise ProjectError(
                f"'{self.file}' row {row} has no label in column '{self.column}': fill it in, or drop that row."
            )
        if isinstance(label, dict | list | bytes):
            raise ProjectError(
                f"'{self.file}' row {row} holds a {type(label).__name__} in column '{self.column}', no label: name a "
                "column with one class name or number a row."
            )
        if text in self.values:
            return self.values.index(text)
        if len(self.values) == self.limit:
            raise ProjectError(
                f"'{self.file}' has more than {self.limit:,} different labels in column '{self.column}': name the "
                "column with the classes."
            )
        self.values.append(text)
        self.first_rows.append(row)
        return len(self.values) - 1


@dataclass(frozen=True)
class Numbered:
    """Class numbers (N,) of a table's labels, and what to tell the user of how they were read."""

    numbers: np.ndarray
    notes: list[str]


class ClassLabels:
    """The classes of a model, as a table may call them.

    Args:
        names: of the classes, by number.
        label2id: further names, as the model's config has them.
    """

    def __init__(self, names: Sequence[str], label2id: Mapping[str, int] | None = None) -> None:
        self.names = [str(name) for name in names]
        self._exact = {name: number for number, name in reversed(list(enumerate(self.names)))}
        self._conflicts: dict[str, tuple[int, int]] = {}
        for name, number in (label2id or {}).items():
            known = self._exact.setdefault(str(name), int(number))
            if known != int(number):
                self._conflicts[str(name)] = (known, int(number))
        self._loose: dict[str, set[int]] = {}
        for name, number in self._exact.items():
            self._loose.setdefault(_loosely(name), set()).add(number)
        self._names_are_numbers = any(
            _NUMBER.fullmatch(name) and name != str(number) for number, name in enumerate(self.names)
        )
        self._read_as_names: bool | None = None
        self._generic = all(_GENERIC.fullmatch(name) for name in self.names)

    @classmethod
    def of(cls, config: Any) -> ClassLabels:
        """The classes of a transformers config."""
        names = [str(config.id2label[number]) for number in range(config.num_labels)]
        known = {str(name): int(number) for name, number in (config.label2id or {}).items()}
        return cls(names, {name: number for name, number in known.items() if 0 <= number < len(names)})

    def numbers(self, column: LabelColumn, stored: Sequence[str] | None = None) -> Numbered:
        """Class numbers of a column.

        Args:
            stored: class names that the table itself keeps for its numbers.

        Raises:
            ProjectError: a label that is no class of the model, with the row and what the model knows.
        """
        if stored is not None and all(_NUMBER.fullmatch(value) for value in column.values):
            return self._renamed(column, stored)
        by_name = [self._by_name(value) for value in column.values]
        by_number = [self._by_number(value) for value in column.values]
        notes = []
        if self._names_are_numbers:
            if self._read_as_names is None:
                self._read_as_names = None not in by_name or None in by_number
            found = by_name if self._read_as_names else by_number
            if self._read_as_names:
                notes = [
                    f"Labels of '{column.file}' are read as class names, not numbers: '{value}' is class {number}."
                    for value, number in zip(column.values, by_name, strict=True)
                    if number is not None and value != str(number)
                ][:1]
        else:
            found = [
                name if name is not None else number for name, number in zip(by_name, by_number, strict=True)
            ]
        for code, number in enumerate(found):
            if number is None:
                raise self._unknown(column, code)
        notes += self._differences(column)
        return Numbered(_looked_up(found, column.codes), notes)

    def meaning(self, value: str) -> int | None:
        """The class number of one label on its own; None where the model does not know it.

        Where the model's names are numbers themselves, a name comes first: `numbers` decides by the whole column.
        """
        number = self._by_name(value.strip())
        return number if number is not None else self._by_number(value.strip())

    def _renamed(self, column: LabelColumn, stored: Sequence[str]) -> Numbered:
        """Numbers of a table with names of its own, which need not count as the model does."""
        names = []
        for code, value in enumerate(column.values):
            number = int(value.partition(".")[0])
            if not 0 <= number < len(stored):
                known = f"the table has names for 0 to {len(stored) - 1}"
                raise ProjectError(
                    f"'{column.file}' row {column.first_rows[code]} has the label '{value}' in column "
                    f"'{column.column}', and {known}: drop the rows without a class, or give them one."
                )
            names.append(stored[number])
        named = LabelColumn(column.file, column.column, column.limit, names, column.first_rows, column.codes)
        matched = [self._by_name(name) is not None for name in names]
        if not any(matched) and self._generic and len(stored) == len(self.names):
            note = f"The model's classes have no names: those of '{column.file}', {_listed(stored)}, count in order."
            found = [stored.index(name) for name in names]
            return Numbered(_looked_up(found, column.codes), [note])
        if not all(matched):
            wrong = names[matched.index(False)]
            raise ProjectError(
                f"'{column.file}' calls its classes {_listed(stored)}, and the model knows no '{wrong}': its classes "
                f"are {_listed(self.names)}; make id2label and label2id in its config.json say the same."
            )
        return Numbered(
            _looked_up([self._by_name(name) for name in names], column.codes), self._differences(named)
        )

    def _by_name(self, value: str) -> int | None:
        if value in self._exact:
            return None if value in self._conflicts else self._exact[value]
        found = self._loose.get(_loosely(value), set())
        if len(found) == 1:
            return next(iter(found))
        generic = _GENERIC.fullmatch(value)
        number = int(generic[1]) if generic and len(generic[1]) < 10 else len(self.names)
        return number if number < len(self.names) else None

    def _by_number(self, value: str) -> int | None:
        match = _NUMBER.fullmatch(value)
        if match and len(match[1]) < 10 and match[1] == str(int(match[1])):
            number = int(match[1])
            return number if 0 <= number < len(self.names) else None
        return _TRUTH.get(value.casefold()) if len(self.names) == 2 else None

    def _differences(self, column: LabelColumn) -> list[str]:
        """What to say of labels that are names only apart from case and space."""
        for value in column.values:
            number = self._by_name(value)
            if number is not None and value not in self._exact and not _GENERIC.fullmatch(value):
                return [
                    f"Labels of '{column.file}' are matched whatever their case: '{value}' is the model's "
                    f"'{self.names[number]}'."
                ]
        return []

    def _unknown(self, column: LabelColumn, code: int) -> ProjectError:
        value = column.values[code]
        start = column.described(code)
        if value in self._conflicts:
            one, other = self._conflicts[value]
            return ProjectError(
                f"{start}, which is class {one} by the model's id2label and class {other} by its label2id: make them "
                "agree in its config.json."
            )
        known = f"{start}, which the model does not know: its classes are {self._known()}"
        return ProjectError(f"{known}; {self._remedy(column, value)}")

    def _known(self) -> str:
        if self._generic:
            return f"0 to {len(self.names) - 1}, without names"
        return _listed(self.names)

    def _remedy(self, column: LabelColumn, value: str) -> str:
        numbers = [int(match[1]) for text in column.values if (match := _NUMBER.fullmatch(text))]
        if _NUMBER.fullmatch(value):
            if numbers and min(numbers) == 1 and max(numbers) == len(self.names):
                return "class numbers start at 0, so subtract 1 from each."
            if value == "-1":
                return "drop the rows without a class."
            return f"class numbers are 0 to {len(self.names) - 1}."
        if self._generic:
            return "write numbers, or give the classes names with id2label and label2id in its config.json."
        loose = self._loose.get(_loosely(value), set())
        if len(loose) > 1:
            return f"it could be {' or '.join(repr(self.names[number]) for number in sorted(loose))}."
        folded = {name.casefold(): name for name in self.names}
        near = difflib.get_close_matches(value.casefold(), list(folded), n=1)
        if near:
            return f"did you mean '{folded[near[0]]}'?"
        return f"{column.correction}, or give the model that was trained on this data."


def _looked_up(found: Sequence[int | None], codes: array[int]) -> np.ndarray:
    table = np.array(found, dtype=np.int64)
    return table[np.frombuffer(codes, dtype=np.intc)]


def _loosely(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{_short(name)}'" for name in names[:_SHOWN]) + more


def _short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
