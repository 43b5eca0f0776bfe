"""Bundled samples: ordinary projects made with the public API, nothing special-cased.

Importing this package loads neither torch nor transformers; making a sample does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, cast

from attribution.progress import SILENT, Reporter


@dataclass(frozen=True)
class Sample:
    """A project that anybody can make without data or a model of their own.

    Args:
        name: what `tracefix demo NAME` takes; also the name of the project directory.
        size: the sizes of both splits, in words.
        prepare_estimate: how long making and preparing it takes on two CPU cores, in words.
        module: module of this package whose ``create(directory, reporter)`` makes the project.
    """

    name: str
    title: str
    summary: str
    kind: Literal["image", "text"]
    size: str
    prepare_estimate: str
    module: str

    def create(self, directory: Path, reporter: Reporter = SILENT) -> None:
        """Make the project in ``directory``: all of it or, on an error or a cancellation, nothing.

        Raises:
            ProjectError: ``directory`` already holds something, or cannot be written.
            MissingRequirementError: a package that the sample needs is not installed.
            Cancelled: the reporter was asked to stop.
        """
        reporter(0.0, "Loading the libraries")
        module = import_module(f"sample_models.{self.module}")
        create = cast(Callable[[Path, Reporter], None], module.create)
        create(Path(directory), reporter)


_ALL = (
    Sample(
        name="digits",
        title="Handwritten digits",
        summary="A small network on 8x8 digits, with 100 of its 1,000 training labels wrong on purpose: "
        "see whether tracing finds them.",
        kind="image",
        size="1,000 train / 797 test",
        prepare_estimate="about 10 seconds",
        module="digits",
    ),
    Sample(
        name="fashion",
        title="Fashion articles",
        summary="A small convolutional network on pictures of clothes from Fashion-MNIST, labels as "
        "published, with six checkpoints of its training run.",
        kind="image",
        size="6,144 train / 2,000 test",
        prepare_estimate="about a minute",
        module="fashion",
    ),
    Sample(
        name="reviews",
        title="Movie reviews",
        summary="A pre-trained BERT (MiniLM-L6), its last two layers fine-tuned to tell positive from negative "
        "review sentences.",
        kind="text",
        size="6,000 train / 2,000 test",
        prepare_estimate="about 4 minutes",
        module="reviews",
    ),
    Sample(
        name="wordbias",
        title="Word associations",
        summary="Skip-gram word embeddings of the review sentences, tested for bias with word lists: the question "
        "has nothing to do with the training loss.",
        kind="text",
        size="5,909 train / 18 test",
        prepare_estimate="about a minute",
        module="wordbias",
    ),
    Sample(
        name="ensemble",
        title="Five networks on digits",
        summary="The digits again, by five networks from five seeds, trained with turn-over dropout: average a method "
        "over all of them, or ask the half of a network that never saw an example.",
        kind="image",
        size="1,000 train / 797 test",
        prepare_estimate="about 20 seconds",
        module="ensemble",
    ),
)

SAMPLES: dict[str, Sample] = {sample.name: sample for sample in _ALL}
"""The bundled samples by name, simplest first."""
