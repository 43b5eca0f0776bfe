"""Recording a model of the user's own as a project: what `tracefix new` checks and writes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attribution.errors import NotFoundError, ProjectError, UsageError
from attribution.progress import SILENT, Reporter
from attribution.projects import Project, create_project
from attribution.projects.files import expanded
from attribution.projects.manifest import FILE_NAME, FRESH, Manifest, TaskSource, TransformersSource
from attribution.sources.checkpoint_list import CheckpointList, checkpoint_list, in_order, matching
from attribution.sources.folder_weights import weight_files
from attribution.sources.found_training import model_folder, record_ensemble, record_training
from attribution.sources.python_function import split_name
from attribution.sources.tables import open_table
from attribution.sources.trainer_folder import checkpoint_folders

if TYPE_CHECKING:
    from attribution.sources.examination import Examination

USUAL_TEXT_COLUMNS = ("text", "sentence")
USUAL_IMAGE_COLUMNS = ("image",)

READ_AT_ONCE = 20_000
"""Examples of a task's split up to which each is read for its label when the project is made."""


@dataclass(frozen=True)
class Table:
    """Names of the columns of both tables; None where the user named none."""

    text: str | None = None
    pair: str | None = None
    image: str | None = None
    label: str = "label"
    id: str | None = None


def from_function(directory: Path, name: str) -> Manifest:
    """The manifest of a project whose task is returned by ``FILE.py:FUNCTION``.

    Raises:
        UsageError: not of that form.
        NotFoundError: no such file or function.
        ProjectError: the file is not valid Python.
    """
    file, function = split_name(name)
    path = _existing(Path(file), "file")
    _check_defines(path, function)
    return _manifest(directory, TaskSource(file=_recorded(path, directory), function=function))


def from_tables(
    directory: Path,
    model: Path,
    train: Path,
    test: Path,
    columns: Table,
    checkpoints: str | None,
    ensemble: str | None = None,
) -> Manifest:
    """The manifest of a project made of a transformers folder and one table per split.

    Args:
        model: a saved model, or a Trainer's output folder; without a model of its own, its last checkpoint is taken.
        checkpoints: a pattern of checkpoint folders or weight files, or a list of them; those of the Trainer's run if
            None.
        ensemble: a pattern of further models' folders.

    Raises:
        UsageError: it is not clear which column holds the inputs.
        NotFoundError: a file or folder does not exist, or the glob matches nothing.
        ProjectError: a table cannot be read or lacks a column.
    """
    given = _existing(model, "folder")
    run = (
        CheckpointList(in_order(checkpoint_folders(given)))
        if checkpoints is None
        else checkpoint_list(checkpoints)
    )
    folder = model_folder(given, run.files)
    text, image = columns.text, columns.image
    if text is not None and image is not None:
        raise UsageError("--text and --image exclude each other: name the one column that the model reads.")
    if columns.pair is not None and image is not None:
        raise UsageError("--pair is the second part of a text: leave it out beside --image.")
    files = [_existing(train, "table"), _existing(test, "table")]
    ids = columns.id
    tables = [open_table(file) for file in files]
    if ids is None and tables[0].own_ids == tables[1].own_ids:
        ids = tables[0].own_ids
    for table in tables:
        if text is None and image is None:
            text, image = _guessed_input(table.columns, table.file)
        table.require((text, columns.pair, image, columns.label, ids))
    if text is not None and text == columns.pair:
        raise UsageError(
            f"--text and --pair both name '{text}': name the two columns that the model compares."
        )
    examples = tables[0].count()
    source = TransformersSource(
        model=_recorded(folder, directory),
        train=_recorded(files[0], directory),
        test=_recorded(files[1], directory),
        text_column=text,
        pair_column=columns.pair,
        image_column=image,
        label_column=columns.label,
        id_column=ids,
    )
    manifest = _manifest(directory, source)
    recorded = partial(_recorded, directory=directory)
    record_training(manifest, folder, run, recorded, examples)
    if ensemble is not None:
        record_ensemble(manifest, matching(ensemble, "--ensemble"), recorded, examples)
    return manifest


def follows(manifest: Manifest, directory: Path, before: Path) -> Manifest:
    """The manifest with the project of the training stage before.

    Raises:
        ProjectError: that is no project.
    """
    earlier = Project.open(before)
    return manifest.model_copy(update={"after": _recorded(earlier.directory, directory)})


def started_from(manifest: Manifest, directory: Path, initial: str) -> Manifest:
    """The manifest with what training started from: ``fresh``, or the folder of the pre-trained model.

    Raises:
        UsageError: a task says that itself.
        NotFoundError: no such folder.
        ProjectError: the folder holds no weights that can be read.
    """
    if not isinstance(manifest.source, TransformersSource):
        raise UsageError("--initial is for --model: a task says what it started from with Task(initial=...).")
    said = initial
    if initial != FRESH:
        folder = _existing(Path(initial), "folder")
        weight_files(folder)
        said = _recorded(folder, directory)
    source = manifest.source.model_copy(update={"initial": said})
    return manifest.model_copy(update={"source": source})


def trained_only(manifest: Manifest, prefixes: Sequence[str]) -> Manifest:
    """The manifest with the parameters that were trained, by the beginnings of their names; all others are constants.

    Raises:
        UsageError: a task says that itself.
    """
    if not isinstance(manifest.source, TransformersSource):
        raise UsageError("--trained is for --model: of a task, freeze the rest with requires_grad_(False).")
    source = manifest.source.model_copy(update={"trained": list(prefixes)})
    return manifest.model_copy(update={"source": source})


def create(
    directory: Path,
    manifest: Manifest,
    *,
    reporter: Reporter = SILENT,
    tell: Callable[[str], None] | None = None,
) -> Project:
    """Check everything that the manifest names, then write the project; on an error nothing is written.

    Tables of texts and pictures are gone through without being loaded, however large; anything else is loaded once.

    Args:
        tell: gets a sentence on each split, on how it was read where that could surprise, and on what a check of a
            sample finds amiss.

    Raises:
        ProjectError: the directory already is a project, or the model, the data, a checkpoint or the function do not
            load.
    """
    path = expanded(directory).absolute()
    if (path / FILE_NAME).exists():
        raise ProjectError(
            f"'{path}' already is a project: choose another directory, or delete its {FILE_NAME} first."
        )
    if path.exists() and not path.is_dir():
        raise ProjectError(f"'{path}' is a file: choose a directory for the project.")
    project = Project(path, manifest)
    examined = _examined(project, reporter.share(0.0, 0.7))
    report = None
    if tell is not None and examined is not None:
        from attribution.checking import quick_check

        report = quick_check(project, examined, reporter=reporter.share(0.7, 1.0))
    made = create_project(path, manifest)
    if tell is not None and examined is not None and report is not None:
        for facts in examined.facts.values():
            for sentence in (facts.summary, *facts.notes):
                tell(sentence)
        for finding in report.doubts:
            tell(f"{finding.severity.capitalize()}: {finding.sentence} {finding.remedy}".strip())
        if not report.doubts:
            tell("Checked on a sample: everything fits.")
    return made


def _examined(project: Project, reporter: Reporter) -> Examination | None:
    """What the data look like; None of a task whose labels only all of its many inputs would tell.

    Raises:
        ProjectError: the model, the data, a checkpoint or the function do not load.
    """
    from attribution.checking.check import QUICK_SAMPLE
    from attribution.sources.checkpoint_files import check_checkpoints
    from attribution.sources.examination import SPLITS, Examination, examine, facts_of_task

    if isinstance(project.manifest.source, TransformersSource):
        examined = examine(project, sample=QUICK_SAMPLE, reporter=reporter)
        check_checkpoints(examined.task)
        return examined
    from attribution.sources import load_task
    from attribution.trial import try_task

    reporter(0.0, "Loading the model and its data")
    task = load_task(project)
    try_task(task, reporter)
    check_checkpoints(task)
    if any(not hasattr(task.dataset(s), "labels") and task.size(s) > READ_AT_ONCE for s in SPLITS):
        return None
    return Examination(facts_of_task(task, sample=QUICK_SAMPLE), task)


def _manifest(directory: Path, source: TaskSource | TransformersSource) -> Manifest:
    name = expanded(directory).absolute().name
    return Manifest(name=name, title=name, source=source)


def _existing(path: Path, kind: str) -> Path:
    """The absolute path of something that must exist already; a table is a file, or a folder of a saved dataset."""
    found = expanded(path).absolute()
    if not (found.is_dir() if kind == "folder" else found.is_file() or (kind == "table" and found.is_dir())):
        named = "file" if kind == "table" else kind
        raise NotFoundError(f"There is no {named} '{path}': give an existing one.")
    return found


def _recorded(path: Path, directory: Path) -> str:
    """Relative inside the project, so that it can be moved; absolute elsewhere."""
    home = expanded(directory).absolute()
    return str(path.relative_to(home)) if path.is_relative_to(home) else str(path)


def _check_defines(file: Path, function: str) -> None:
    """Refuse, without running anything, a file that is not valid Python or plainly lacks the function."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    except SyntaxError as error:
        raise ProjectError(
            f"'{file}' has a syntax error in line {error.lineno} ({error.msg}): mend it and try again."
        ) from error
    except (OSError, ValueError) as error:
        raise ProjectError(
            f"'{file}' cannot be read as Python ({error}): give a text file in UTF-8."
        ) from error
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    bound_otherwise = any(
        not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Expr) for node in tree.body
    )
    if function not in functions and not bound_otherwise:
        known = f"it defines {_listed(functions)}" if functions else "it defines none"
        raise NotFoundError(f"'{file}' has no function '{function}': {known}.")


def _guessed_input(present: list[str], file: Path) -> tuple[str | None, str | None]:
    """The text or image column where the name leaves no doubt, as (text, image)."""
    texts = [column for column in USUAL_TEXT_COLUMNS if column in present]
    images = [column for column in USUAL_IMAGE_COLUMNS if column in present]
    if len(texts) + len(images) != 1:
        raise UsageError(
            f"It is not clear which column of '{file}' the model reads: say --text COL or --image COL; the columns are "
            f"{_listed(present)}."
        )
    return (texts[0], None) if texts else (None, images[0])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in list(names)[:20])
