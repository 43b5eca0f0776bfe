"""`check_project`: everything that can be known of a project before work starts, in a minute rather than an hour."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from attribution.batches import gradient_batch_size, labels_of
from attribution.checking.balance import balance_finding, mapping_finding, size_finding
from attribution.checking.duplicates import Looked, NameOf, duplicate_findings
from attribution.checking.finding import CheckReport, Finding, counted, percent
from attribution.checking.fit import Confusion, confusion, fit_findings
from attribution.checking.preparing import (
    checkpoint_finding,
    cost_finding,
    device_finding,
    logits_problem,
    method_finding,
    parameter_finding,
    project_facts,
)
from attribution.checking.reading import Lengths, TextReading, input_digests, read_texts
from attribution.devices import resolve_device
from attribution.errors import ProjectError, TracefixError
from attribution.predictions import predict
from attribution.progress import SILENT, Reporter
from attribution.projects import Project, TransformersSource
from attribution.sources.examination import SPLITS, Examination, SplitFacts, examine
from attribution.sources.tables import open_table
from attribution.sources.tables.values import ids_of
from attribution.sources.text_data import TextTokenizer
from attribution.sources.transformers_folder import vocabulary_size
from attribution.task import Task
from attribution.trajectory import Trajectory

SAMPLE = 512
"""Examples of each split that the model is asked about at most."""

QUICK_SAMPLE = 128
"""The same where a project is only recorded: enough to tell a model that knows its data from one that does not."""

PATIENCE = 60.0
"""Seconds for which the inputs of a split of a user's own task are compared with one another at most."""

MANY_CUT = 0.05
"""Share of texts that are cut that is worth a warning."""


@dataclass
class Subject:
    """A project with what was read of it.

    Args:
        project: as recorded.
        task: with the whole data where they are in memory, with a sample of it where they are not.
        sampled: the same with the sample of each split alone.
        facts: of both splits.
    """

    project: Project
    task: Task
    sampled: Task
    facts: dict[str, SplitFacts]

    @property
    def texts(self) -> TransformersSource | None:
        """The source where the data are tables of texts, which are never loaded whole."""
        source = self.project.manifest.source
        streamed = self.facts["train"].digests is not None
        return source if streamed and isinstance(source, TransformersSource) else None


def check_project(
    project: Project,
    *,
    device: str = "auto",
    patience: float = PATIENCE,
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> CheckReport:
    """Look at a project, prepared or not; nothing is written.

    Tables of texts are read in pieces: memory grows by some tens of bytes a row.

    Args:
        patience: seconds for which the inputs of a task's split are compared at most.
        seed: of the sample.

    Raises:
        ProjectError: model or data cannot be used at all; the sentence says why.
        UsageError: there is no such device.
        NumericalError: the model gives NaN or infinity.
        Cancelled: the user asked for a stop.
    """
    where = resolve_device(device)
    examined = examine(project, sample=SAMPLE, seed=seed, reporter=reporter.share(0.0, 0.4))
    subject = subject_of(project, examined)
    return CheckReport(project.name, findings_of(subject, where, True, patience, reporter.share(0.4, 1.0)))


def quick_check(project: Project, examined: Examination, *, reporter: Reporter = SILENT) -> CheckReport:
    """What can be said of a project that was just examined without reading its inputs once more.

    Left out: near duplicates, cut texts, how labels are mapped, duplicates in a task of the user's own, and how long
    preparing takes.
    """
    subject = subject_of(project, examined)
    return CheckReport(project.name, findings_of(subject, resolve_device("auto"), False, 0.0, reporter))


def subject_of(project: Project, examined: Examination) -> Subject:
    """What `examine` found of a project, as the findings are told from it."""
    task, facts = examined.task, examined.facts
    subject = Subject(project, task, task, facts)
    if subject.texts is not None:  # the task holds the samples already
        return subject
    items = {split: facts[split].sample for split in SPLITS}
    sampled = replace(
        task,
        train=items["train"].dataset,
        test=items["test"].dataset,
        train_ids=items["train"].ids,
        test_ids=items["test"].ids,
    )
    return Subject(project, task, sampled, facts)


def findings_of(
    subject: Subject, device: torch.device, thorough: bool, patience: float, reporter: Reporter
) -> list[Finding]:
    """All findings, in the order they are told."""
    task, facts = subject.task, subject.facts
    names = list(task.class_names)
    classes = {split: np.bincount(facts[split].labels, minlength=len(names)) for split in SPLITS}
    found = [device_finding(device, task.model), size_finding(classes, names), parameter_finding(task.model)]
    found += [Finding("reading", "note", note) for split in SPLITS for note in facts[split].notes]
    readings = _readings(subject, reporter.share(0.0, 0.4)) if thorough else {}
    if readings:
        found.append(mapping_finding(readings["train"].mapping | readings["test"].mapping, names))
        found.append(length_finding({split: readings[split].lengths for split in SPLITS}))
    found.append(balance_finding(classes, names))
    if any(facts[split].empty_inputs for split in SPLITS):
        found.append(_empty(facts))
    found += _fit(subject, device, reporter.share(0.4, 0.6))
    looked = _looked(subject, readings, thorough, patience, reporter.share(0.6, 0.8))
    if looked is not None:
        ids = (_ids(subject, "train"), _ids(subject, "test"))
        found += duplicate_findings(looked, facts["train"].labels, ids)
    found.append(checkpoint_finding(task))
    if any(finding.severity == "problem" and finding.name in ("parameters", "output") for finding in found):
        return found
    return [*found, *_preparing(subject, device, thorough, reporter.share(0.8, 1.0))]


def _readings(subject: Subject, reporter: Reporter) -> dict[str, TextReading]:
    source = subject.texts
    if source is None:
        return {}
    folder = subject.project.resolve(source.model)
    tokenizer = TextTokenizer(folder, source.max_tokens, vocabulary_size(subject.task.model))
    found = {}
    for number, (split, file) in enumerate(zip(SPLITS, (source.train, source.test), strict=True)):
        labels = subject.facts[split].labels
        found[split] = read_texts(
            open_table(subject.project.resolve(file)),
            source,
            tokenizer,
            labels,
            reporter.share(number / 2, (number + 1) / 2),
            f"Comparing {len(labels):,} {split} examples",
        )
    return found


def length_finding(lengths: dict[str, Lengths]) -> Finding:
    """How many texts are cut at the length that the model is given."""
    numbers = {
        split: {"longer": found.longer, "looked_at": found.looked_at, "first": found.first}
        for split, found in lengths.items()
    }
    limit = lengths["train"].limit
    cut = {split: found.longer / max(found.looked_at, 1) for split, found in lengths.items()}
    if not any(found.longer for found in lengths.values()):
        return Finding(
            "lengths", "ok", f"No text is longer than {limit:,} tokens.", numbers=numbers | {"limit": limit}
        )
    words = " and ".join(
        f"{found.longer:,} of {found.looked_at:,} {split} texts ({percent(cut[split])})"
        for split, found in lengths.items()
    )
    longest = max(found.longest for found in lengths.values())
    first = next(f"first {split} '{found.first}'" for split, found in lengths.items() if found.longer)
    return Finding(
        "lengths",
        "warning" if max(cut.values()) > MANY_CUT else "note",
        f"{words} are longer than {limit:,} tokens and are cut ({first}, longest {longest:,}).",
        "The model reads their beginning only: raise max_tokens in project.json if it was trained on more.",
        numbers | {"limit": limit, "longest": longest},
    )


def _empty(facts: dict[str, SplitFacts]) -> Finding:
    counts = {split: facts[split].empty_inputs for split in SPLITS}
    split = "train" if counts["train"] else "test"
    return Finding(
        "empty texts",
        "warning",
        f"{counts['train']:,} training and {counts['test']:,} test texts are empty (first {split} "
        f"'{facts[split].first_empty}').",
        "An empty text says nothing of its label: drop these rows.",
        counts,
    )


def _fit(subject: Subject, device: torch.device, reporter: Reporter) -> list[Finding]:
    task = subject.sampled
    model = task.model.to(device)
    counts: dict[str, Confusion] = {}
    for number, split in enumerate(SPLITS):
        share = reporter.share(number / 2, (number + 1) / 2)
        logits = _logits(task, model, split, device, share)
        problem = logits_problem(logits, len(task.class_names))
        if problem is not None:
            return [problem]
        labels = labels_of(task, split).numpy()
        counts[split] = confusion(labels, logits.argmax(dim=1).numpy(), len(task.class_names))
    sizes = {split: subject.facts[split].rows for split in SPLITS}
    return fit_findings(counts, list(task.class_names), sizes)


def _logits(task: Task, model: nn.Module, split: str, device: torch.device, reporter: Reporter) -> Tensor:
    was_training = model.training
    try:
        size = gradient_batch_size(task)
        message = f"Predicting {counted(task.size(split), f'{split} example')}"
        return predict(
            task, model.eval(), split, device=device, batch_size=size, reporter=reporter, message=message
        )[0]
    finally:
        model.train(was_training)


def _looked(
    subject: Subject, readings: dict[str, TextReading], thorough: bool, patience: float, reporter: Reporter
) -> Looked | None:
    """Digests of the inputs, as far as they are known or can be had in time."""
    facts = subject.facts
    sizes = (facts["train"].rows, facts["test"].rows)
    train, test = facts["train"].digests, facts["test"].digests
    if train is not None and test is not None:
        near = [readings[split].near if readings else None for split in SPLITS]
        return Looked(train, test, near[0], near[1], sizes)
    if not thorough:
        return None
    found = [
        input_digests(
            subject.task,
            split,
            patience,
            reporter.share(number / 2, (number + 1) / 2),
            f"Comparing {sizes[number]:,} {split} examples",
        )
        for number, split in enumerate(SPLITS)
    ]
    return Looked(found[0][0], found[1][0], found[0][1], found[1][1], sizes)


def _ids(subject: Subject, split: str) -> NameOf:
    source = subject.texts
    if source is None:
        ids = subject.task.ids(split)
        return lambda position: ids[int(position)]
    if source.id_column is None:
        return lambda position: str(int(position))
    file = subject.project.resolve(source.train if split == "train" else source.test)
    return partial(_stored_id, file, source.id_column)


def _stored_id(file: Path, column: str, position: int) -> str:
    """The id of a row; the table is read up to it."""
    start = 0
    for part in open_table(file).batches([column]):
        values = part[column]
        if position < start + len(values):
            return ids_of([values[position - start]], file, column, int(position))[0]
        start += len(values)
    raise ProjectError(f"'{file}' became shorter while it was read: check the project again.")


def _preparing(subject: Subject, device: torch.device, thorough: bool, reporter: Reporter) -> list[Finding]:
    """Methods, and what preparing takes; what keeps it from starting is a finding, too."""
    task = subject.sampled
    rows = {split: subject.facts[split].rows for split in SPLITS}
    reporter(0.0, "Looking at the training run")
    try:
        trajectory = Trajectory(task, device)
        known = project_facts(task, trajectory, subject.facts["train"].kind, rows["train"])
        found = [method_finding(known)]
        if thorough:
            reporter(0.5, "Timing a batch of gradients")
            started = time.perf_counter()
            _logits(task, trajectory.model_at(trajectory.final), "test", device, reporter.silent())
            per_test = (time.perf_counter() - started) / task.size("test")
            found.append(cost_finding(subject.project, task, trajectory, known, rows["test"], per_test))
    except TracefixError as error:
        reporter(1.0, "Preparing would fail")
        return [Finding("preparing", "problem", str(error))]
    return found
