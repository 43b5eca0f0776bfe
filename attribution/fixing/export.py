"""Carrying a fix home: the edits as a table, the patched model as safetensors, and the command that repeats it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from attribution.errors import ProjectError
from attribution.fixing.command import COLUMNS, EDITS_FILE, edit_rows, replay_command
from attribution.fixing.reasons import edit_reasons, explanation_of
from attribution.fixing.replay import Replayed
from attribution.progress import SILENT, Reporter
from attribution.projects import FixRecord, Project, TransformersSource
from attribution.projects.files import building
from attribution.projects.records import Belief
from attribution.sources.quiet import quiet_transformers

if TYPE_CHECKING:
    from attribution.engine import Engine

WEIGHTS = "model.safetensors"

_INPUT_FILES = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model", "*.tiktoken",
    "chat_template*", "preprocessor_config.json", "processor_config.json", "image_processor*",
)  # fmt: skip
"""Files of a transformers folder that say how inputs are made."""


@dataclass(frozen=True)
class Exported:
    """A finished export: its folder, the names of its files, the command that repeats the fix (after ``before``, those
    of the fixes beneath it, the first one first), and how far the replayed probabilities are from the recorded ones."""

    directory: Path
    files: list[str]
    command: str
    difference: float
    before: tuple[str, ...] = ()


def export_fix(
    engine: Engine,
    fix_id: str,
    directory: Path,
    *,
    edits_file: Path | None = None,
    reporter: Reporter = SILENT,
) -> Exported:
    """Write a fix of the history into a new folder, whole or not at all.

    ``edits.csv`` has a row for each edit; ``model.safetensors`` the patched weights, got by replaying the recipe,
    with config and tokenizer or image processor where it is a transformers model; ``fix.json`` the record;
    ``README.txt`` the command that repeats it and how to load it. Each fix beneath it has its ``edits-ID.csv``, too.

    Args:
        edits_file: where the table of edits will lie, for the command; in ``directory`` if not given.

    Raises:
        NotFoundError: no such fix.
        ProjectError: the folder holds something already or cannot be written; the replay differs from the record.
    """
    project = engine.project
    fix = project.history.get(fix_id)
    occupied = "give a new folder, or empty this one first"
    with building(directory, occupied=occupied) as place:
        replayed = engine.replay(fix_id, reporter=reporter.share(0.0, 0.6))
        stack = project.history.stack(fix_id)
        own = edits_file or directory.absolute() / EDITS_FILE
        tables = [*(f"edits-{beneath.fix_id}.csv" for beneath in stack[:-1]), EDITS_FILE]
        for done, (part, table) in enumerate(zip(stack, tables, strict=True)):
            share = reporter.share(0.6 + 0.3 * done / len(stack), 0.6 + 0.3 * (done + 1) / len(stack))
            _write_edits(
                project, part, edit_reasons(project, part, explanation_of(engine, part, share)), place / table
            )
        commands = [
            replay_command(project.directory, part, own if part is stack[-1] else own.with_name(table))
            for part, table in zip(stack, tables, strict=True)
        ]
        reporter(0.9, "Writing the model")
        _write_model(replayed.model, place)
        source = project.manifest.source
        if isinstance(source, TransformersSource):
            _copy_input_files(project.resolve(source.model), place)
        record = json.dumps(fix.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False)
        (place / "fix.json").write_text(record + "\n", encoding="utf-8")
        (place / "README.txt").write_text(_readme(project, stack, replayed, commands), encoding="utf-8")
        files = sorted(file.name for file in place.iterdir())
        reporter(1.0, "Writing the model")
    *before, command = commands
    return Exported(directory.absolute(), files, command, replayed.difference, tuple(before))


def _write_edits(project: Project, fix: FixRecord, reasons: Sequence[str], file: Path) -> None:
    names, train = project.class_names, project.predictions("train")
    labels = [names[int(train.loc[edit.train_id, "label"])] for edit in fix.edits]
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(edit_rows(fix, labels, reasons))


def _write_model(model: nn.Module, place: Path) -> None:
    if isinstance(model, PreTrainedModel):
        with quiet_transformers():
            model.save_pretrained(place, max_shard_size="1000GB")  # one file, whatever its size
        return
    tensors = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    # Tied weights share memory, which safetensors refuses; as copies they load into the tied model all the same.
    save_file(
        {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}, place / WEIGHTS
    )


def _copy_input_files(folder: Path, place: Path) -> None:
    """Tokenizer and image processor byte for byte: inputs are then made as they were for the project."""
    for pattern in _INPUT_FILES:
        for file in folder.glob(pattern):
            if file.is_file() and file.suffix not in (".safetensors", ".bin", ".pt"):
                shutil.copyfile(file, place / file.name)
    if not (place / "config.json").is_file():
        raise ProjectError(f"The model of '{folder}' was written without a config.json: save it again first.")


def _readme(project: Project, stack: Sequence[FixRecord], replayed: Replayed, commands: Sequence[str]) -> str:
    """``stack`` ends with the exported fix, ``commands`` are those of the whole stack."""
    *beneath, fix = stack
    steps = f"{fix.steps} step{'s' if fix.steps != 1 else ''}"
    exactness = (
        "Its probabilities are those of the preview, bit for bit."
        if replayed.difference == 0
        else f"Its probabilities differ from those of the preview by at most {replayed.difference:.1e} (rounding of "
        "another device or number of threads)."
    )
    versions = ", ".join(f"{name} {number}" for name, number in fix.versions.items()) or "not recorded"
    return f"""A fix of {_targets(fix)} of the project {project.title}

The model here is the project's model after {_earlier(beneath)}{steps} of fine-tuning on {len(fix.edits)} training \
examples.
It is not a retrained model.

{_outcomes(fix)}
Test accuracy: {100 * fix.accuracy_before:.2f} % before, {100 * fix.accuracy_after:.2f} % after; \
{len(fix.newly_fixed)} other predictions fixed, {len(fix.newly_broken)} broken.
{_whole_stack(fix)}{exactness}

Files
  {EDITS_FILE}           what was done to which training example, and why (an apostrophe before = + - @ keeps
                      spreadsheets from running a cell; it is not part of it)
  {WEIGHTS}   the patched weights
  fix.json            recipe and result, as recorded

Load it
{_loading(project, replayed.model)}

Make it again (seed {fix.seed}, on {fix.device}; versions: {versions})
{_again(commands)}
"""


def _targets(fix: FixRecord) -> str:
    count = len(fix.test_ids)
    return f"test example {fix.test_id}" if count == 1 else f"{count} test examples together"


def _outcomes(fix: FixRecord) -> str:
    """What became of each target, a line each; of several how many became right first."""
    if len(fix.test_ids) == 1:
        return _outcome(fix.test_id, fix.true, fix.before, fix.after)
    lines = [f"{fix.fixed_count} of {len(fix.targets)} are predicted right now:"]
    lines += [_outcome(target.test_id, target.true, target.before, target.after) for target in fix.targets]
    return "\n".join(lines)


def _outcome(test_id: str, true: str, before: Belief, after: Belief) -> str:
    return (
        f"Test example {test_id} is predicted as '{after.predicted}' (before: '{before.predicted}', true: '{true}'), "
        f"with a probability of {after.probabilities[true]:.6f} for '{true}'."
    )


def _earlier(beneath: Sequence[FixRecord]) -> str:
    if not beneath:
        return ""
    count = f"{len(beneath)} earlier fixes" if len(beneath) > 1 else "an earlier fix"
    return f"{count} ({', '.join(fix.fix_id for fix in beneath)}), then "


def _whole_stack(fix: FixRecord) -> str:
    if fix.stack is None:
        return ""
    return (
        "All this is against the model with the earlier fixes. Against the project's own model, all of them together: "
        f"test accuracy {100 * fix.stack.accuracy_original:.2f} % before, {100 * fix.accuracy_after:.2f} % after; "
        f"{len(fix.stack.fixed)} predictions fixed, {len(fix.stack.broken)} broken.\n"
    )


def _again(commands: Sequence[str]) -> str:
    lines = [f"  {command}" for command in commands]
    if len(commands) > 1:
        lines.append(
            "In this order; where the project has the earlier fixes in its history, deleted or not, the last one is "
            "enough.\nElsewhere give --on the id that the command before it prints."
        )
    return "\n".join(lines)


def _loading(project: Project, model: nn.Module) -> str:
    if not isinstance(model, PreTrainedModel):
        return (
            "  from safetensors.torch import load_file\n"
            f'  model.load_state_dict(load_file("{WEIGHTS}"))   # model: the network as your code builds it'
        )
    name = type(model).__name__
    lines = [f"  from transformers import {name}", f'  model = {name}.from_pretrained("this folder")']
    source = project.manifest.source
    if isinstance(source, TransformersSource):
        auto = "AutoImageProcessor" if source.image_column else "AutoTokenizer"
        lines[0] += f", {auto}"
        lines.append(f'  inputs = {auto}.from_pretrained("this folder")')
    return "\n".join(lines)
