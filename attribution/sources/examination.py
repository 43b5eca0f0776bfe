"""What a project's data look like, found out without loading them: tables are read a few rows at a time.

`examine` is what `tracefix new` refuses bad data by: every label is mapped to a class, every id compared, every text
looked at, and the first rows and the longest of each table really go through tokenizer and model.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from attribution.batches import labels_of, stack_or_pad
from attribution.errors import ProjectError
from attribution.progress import SILENT, Reporter
from attribution.projects import Project, TransformersSource
from attribution.sources.image_data import ImageDataset
from attribution.sources.loading import load_task
from attribution.sources.python_function import describe
from attribution.sources.tables import Table, open_table
from attribution.sources.tables.labels import LabelColumn
from attribution.sources.text_data import TextDataset, TextTokenizer
from attribution.sources.text_rows import TextRows, UniqueIds, shown, text_rows
from attribution.sources.text_split import SplitData
from attribution.sources.transformers_folder import assembled_task, classes_of, load_model, vocabulary_size
from attribution.task import Task
from attribution.trial import try_task

SPLITS = ("train", "test")
_TRIED_ROWS = 4
_LISTED_CLASSES = 12


@dataclass(frozen=True)
class Sample:
    """Some examples of a split, in its order: positions (n,), ids, labels (n,), and what people see of each.

    ``dataset[i]`` is ``(input, label)`` as in the split's own dataset.
    """

    positions: np.ndarray
    ids: list[str]
    labels: np.ndarray
    dataset: Any
    display: list[Any]

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class SplitFacts:
    """What is known of a split.

    Args:
        split: ``"train"`` or ``"test"``.
        name: the table, folder or function that it comes from, as messages call it.
        kind: what the model reads: ``"text"``, ``"image"`` or ``"other"``.
        rows: number of examples.
        class_counts: examples by class name, every class of the model, in its order.
        labels: class numbers (N,), int64, in row order.
        digests: 64-bit digests (N,), uint64, of what the model is given of each example: equal inputs have equal ones.
            None where the kind of data has none.
        empty_inputs: how many texts are empty or blank (in a pair: either part).
        first_empty: id of the first of them; None where there is none.
        first: id, label (class name) and input, as people see it, of the first few examples.
        sample: examples drawn at random without replacement, or all of them where they are fewer.
        notes: what the user should know of how the data were read, in sentences.
    """

    split: str
    name: str
    kind: str
    rows: int
    class_counts: dict[str, int]
    labels: np.ndarray
    digests: np.ndarray | None
    empty_inputs: int
    first_empty: str | None
    first: list[dict[str, str]]
    sample: Sample
    notes: list[str]

    @property
    def summary(self) -> str:
        """One sentence: how many examples, and how many of each class."""
        counts = [f"{count:,} {name}" for name, count in self.class_counts.items()]
        listed = ", ".join(counts[:_LISTED_CLASSES]) + (", …" if len(counts) > _LISTED_CLASSES else "")
        empty = f"; {self.empty_inputs:,} of the texts are empty" if self.empty_inputs else ""
        words = "training" if self.split == "train" else "test"
        return f"{self.rows:,} {words} examples: {listed}{empty}."


@dataclass(frozen=True)
class Examination:
    """What `examine` finds, and the project's task with the samples of texts as its data.

    Of other kinds of data, which are loaded to look at them, the task is the whole one.
    """

    facts: dict[str, SplitFacts]
    task: Task


def examine(
    project: Project,
    *,
    sample: int = 256,
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> Examination:
    """Load the model and go through both tables once.

    Memory grows by a few numbers for each text or picture, all of which are read. Other data are loaded as `load_task`
    does.

    Args:
        sample: how many examples of each split to draw for `SplitFacts.sample`.

    Raises:
        ProjectError: the model does not load, or a row cannot be used; the sentence names it.
    """
    source = project.manifest.source
    if not isinstance(source, TransformersSource) or source.image_column is not None:
        reporter(0.0, "Loading the model and its data")
        task = load_task(project)
        try_task(task, reporter)
        return Examination(facts_of_task(task, sample=sample, seed=seed), task)
    reporter(0.0, "Loading the model")
    model = load_model(project, source)
    examiner = _Examiner(source, model, project.resolve(source.model))
    found = {}
    for number, (split, name) in enumerate(zip(SPLITS, (source.train, source.test), strict=True)):
        share = reporter.share(0.2 + 0.4 * number, 0.6 + 0.4 * number)
        found[split] = examiner.examine(split, project.resolve(name), sample, seed, share)
    train, test = (_sampled(found[split].sample) for split in SPLITS)
    return Examination(found, assembled_task(project, source, model, train, test))


def facts_of_task(task: Task, *, sample: int = 256, seed: int = 0) -> dict[str, SplitFacts]:
    """Facts of both splits of a task that is loaded; inputs are only looked at where they are drawn or shown."""
    return {split: _facts_of_split(task, split, sample, seed) for split in SPLITS}


class _Examiner:
    """Goes through tables of texts with one model."""

    def __init__(self, source: TransformersSource, model: nn.Module, folder: Path) -> None:
        self._source = source
        self._model = model
        self._classes = classes_of(model)
        self._tokenizer = TextTokenizer(folder, source.max_tokens, vocabulary_size(model))
        self._folder = folder

    def examine(self, split: str, file: Path, sample: int, seed: int, reporter: Reporter) -> SplitFacts:
        source, table = self._source, open_table(file)
        labels, unique = LabelColumn(file, source.label_column), UniqueIds()
        drawn, tried = _Reservoir(sample, seed), _Tried()
        digests: list[np.ndarray] = []
        first: list[dict[str, str]] = []
        empty, first_empty = 0, None
        expected = table.count()
        for rows in text_rows(table, source):
            reporter(rows.start / max(expected, 1), f"Reading {expected:,} {split} examples")
            labels.add(rows.labels)
            digests.append(_digests(rows))
            blank = _blank(rows)
            empty += len(blank)
            if blank and first_empty is None:
                first_empty = rows.id(blank[0])
            if rows.ids is not None:
                unique.add(rows.ids)
            drawn.add(rows)
            tried.add(rows, blank)
            if not rows.start:
                first = [
                    {"id": rows.id(row), "label": str(rows.labels[row]), "input": text}
                    for row, text in enumerate(shown(rows.texts, rows.pairs, source)[:_TRIED_ROWS])
                ]
        if source.id_column is not None:
            unique.check(table, source.id_column)
        numbered = self._classes.numbers(labels, table.class_names(source.label_column))
        numbers = numbered.numbers
        for row, example in enumerate(first):
            example["label"] = self._classes.names[int(numbers[row])]
        self._try(table, tried)
        return SplitFacts(
            split=split,
            name=str(file),
            kind="text",
            rows=len(numbers),
            class_counts=_counts(numbers, self._classes.names),
            labels=numbers,
            digests=np.concatenate(digests),
            empty_inputs=empty,
            first_empty=first_empty,
            first=first,
            sample=self._sample(drawn, numbers, file),
            notes=[*table.notes, *numbered.notes],
        )

    def _sample(self, drawn: _Reservoir, numbers: np.ndarray, file: Path) -> Sample:
        order = np.argsort(drawn.positions)
        positions = drawn.positions[order]
        chosen = [drawn.rows[place] for place in order]
        texts = [text for text, _, _ in chosen]
        pairs = None if self._source.pair_column is None else [str(pair) for _, pair, _ in chosen]
        encoded = self._tokenizer(texts, pairs, file, 0)
        dataset = TextDataset(encoded, numbers[positions])
        ids = [example_id for _, _, example_id in chosen]
        display = shown(texts, pairs, self._source)
        return Sample(positions, ids, numbers[positions], dataset, display)

    def _try(self, table: Table, tried: _Tried) -> None:
        """Run the kept rows through the model, each for itself.

        Raises:
            ProjectError: it fails, with the row.
        """
        for row, (text, pair) in sorted(tried.rows.items()):
            encoded = self._tokenizer([text], None if pair is None else [pair], table.file, row)
            inputs = stack_or_pad([{name: torch.tensor(values[0]) for name, values in encoded.items()}])
            try:
                with torch.no_grad():
                    logits = cast(Tensor, self._model(**cast(Mapping[str, Tensor], inputs)).logits)
            except Exception as error:
                length = len(encoded["input_ids"][0])
                raise ProjectError(
                    f"The model in '{self._folder}' fails on '{table.file}' row {row + 1}, {length} tokens long "
                    f"({describe(error)}): give the tokenizer and the model that belong together."
                ) from error
            if not torch.isfinite(logits).all():
                raise ProjectError(
                    f"The model in '{self._folder}' gives NaN or infinity for '{table.file}' row {row + 1}: save sound "
                    "weights."
                )


def _sampled(sample: Sample) -> SplitData:
    return SplitData(sample.dataset, sample.ids, {}, sample.display)


class _Reservoir:
    """Rows drawn at random without replacement while they come (Vitter's algorithm R)."""

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._random = np.random.default_rng(seed)
        self.rows: list[tuple[str, str | None, str]] = []
        self._positions: list[int] = []

    @property
    def positions(self) -> np.ndarray:
        """Row numbers from 0, in the order of ``rows``."""
        return np.array(self._positions, dtype=np.int64)

    def add(self, rows: TextRows) -> None:
        places = self._random.integers(0, np.arange(rows.start, rows.start + len(rows)) + 1)
        for row, place in enumerate(places.tolist()):
            if len(self.rows) < self._size:
                self._positions.append(rows.start + row)
                self.rows.append(_kept(rows, row))
            elif place < self._size:
                self._positions[place] = rows.start + row
                self.rows[place] = _kept(rows, row)


def _kept(rows: TextRows, row: int) -> tuple[str, str | None, str]:
    return rows.texts[row], None if rows.pairs is None else rows.pairs[row], rows.id(row)


class _Tried:
    """The first rows, the first empty one and the longest, by row number from 0."""

    def __init__(self) -> None:
        self._first: dict[int, tuple[str, str | None]] = {}
        self._empty: dict[int, tuple[str, str | None]] = {}
        self._longest: tuple[int, int, tuple[str, str | None]] | None = None

    @property
    def rows(self) -> dict[int, tuple[str, str | None]]:
        longest = {} if self._longest is None else {self._longest[1]: self._longest[2]}
        return {**self._first, **self._empty, **longest}

    def add(self, rows: TextRows, blank: Sequence[int]) -> None:
        for row in range(min(len(rows), _TRIED_ROWS - rows.start)):
            self._first[rows.start + row] = _kept(rows, row)[:2]
        if blank and not self._empty:
            self._empty[rows.start + blank[0]] = _kept(rows, blank[0])[:2]
        lengths = [len(text) for text in rows.texts]
        if rows.pairs is not None:
            lengths = [length + len(pair) for length, pair in zip(lengths, rows.pairs, strict=True)]
        row = max(range(len(rows)), key=lengths.__getitem__)
        if self._longest is None or lengths[row] > self._longest[0]:
            self._longest = (lengths[row], rows.start + row, _kept(rows, row)[:2])


def _blank(rows: TextRows) -> list[int]:
    """Numbers of those of the rows with nothing to read in one part."""
    pairs = rows.texts if rows.pairs is None else rows.pairs
    return [
        row
        for row, (text, pair) in enumerate(zip(rows.texts, pairs, strict=True))
        if not text.strip() or not pair.strip()
    ]


def _digests(rows: TextRows) -> np.ndarray:
    if rows.pairs is None:
        found = [_digest(text.encode()) for text in rows.texts]
    else:
        found = [
            _digest(f"{len(text)} {text}{pair}".encode())
            for text, pair in zip(rows.texts, rows.pairs, strict=True)
        ]
    return np.frombuffer(b"".join(found), dtype=np.uint64)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=8).digest()


def _counts(labels: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    """By class name; classes of the same name count together."""
    found: Counter[str] = Counter(dict.fromkeys(names, 0))
    for name, count in zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=False):
        found[name] += count
    return dict(found)


def _facts_of_split(task: Task, split: str, sample: int, seed: int) -> SplitFacts:
    labels = labels_of(task, split).numpy()
    wrong = np.flatnonzero((labels < 0) | (labels >= len(task.class_names)))
    ids, size = task.ids(split), task.size(split)
    if len(wrong) or not size:
        problem = (
            f"has the label {labels[wrong[0]]} at '{ids[wrong[0]]}': labels must be class numbers 0 to "
            f"{len(task.class_names) - 1}"
            if size
            else "is empty: give at least one example"
        )
        raise ProjectError(f"The {split} data {problem}.")
    dataset = cast(Any, task.dataset(split))
    display = task.train_display if split == "train" else task.test_display
    random = np.random.default_rng(seed)
    positions = np.sort(random.permutation(size)[:sample])
    texts = display is not None and all(isinstance(text, str) for text in display[:_TRIED_ROWS])
    first = dataset[0][0]
    pixels = isinstance(first, Mapping) and "pixel_values" in first
    return SplitFacts(
        split=split,
        name=f"the {split} data",
        kind="text" if texts else "image" if pixels else "other",
        rows=size,
        class_counts=_counts(labels, task.class_names),
        labels=labels,
        digests=dataset.digests if isinstance(dataset, ImageDataset) else None,
        empty_inputs=0,
        first_empty=None,
        first=[
            {
                "id": ids[row],
                "label": task.class_names[int(labels[row])],
                "input": str(display[row]) if texts and display is not None else "",
            }
            for row in range(min(size, _TRIED_ROWS))
        ],
        sample=Sample(
            positions,
            [ids[position] for position in positions],
            labels[positions],
            [dataset[int(position)] for position in positions],
            [] if display is None else [display[int(position)] for position in positions],
        ),
        notes=[],
    )
